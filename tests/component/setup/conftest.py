"""A machine for scripts/install-packages: a folder as its root, and stand-ins for the programs that change machines."""

import os
import pty
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "install-packages"

DPKG_QUERY = r"""
shift; format=$1; shift
for package; do
    grep -qx "$package" "$STATE/installed" || continue
    case $format in *Package*) echo "installed $package" ;; *) printf installed ;; esac
done
"""

#: Does to the machine's files what the real packages do: enables units and init scripts, links nginx modules.
APT_GET = r"""
echo "apt-get $*" >>"$STATE/calls"
case " $* " in *" update "*) rm -f "$STATE/lists-are-empty"; exit ;; esac
[ ! -e "$STATE/lists-are-empty" ] || { echo "E: Unable to locate package" >&2; exit 100; }
"$RAGRID_SYSTEM_ROOT/usr/sbin/policy-rc.d"; echo "a start would get $?" >>"$STATE/calls"
cat "$RAGRID_SYSTEM_ROOT"/etc/postgresql-common/createcluster.d/*.conf | grep create_ >>"$STATE/calls"
[ ! -e "$STATE/apt-fails" ] || { echo "E: disk full" >&2; exit 100; }
etc=$RAGRID_SYSTEM_ROOT/etc
for package; do
    case $package in
    nginx | etcd-server | postgresql | prometheus)
        ln -sf "/lib/systemd/system/$package.service" "$etc/systemd/system/multi-user.target.wants/$package.service"
        touch "$etc/init.d/$package" ;;
    libnginx-mod-http-lua) ln -sf /usr/share/lua.conf "$etc/nginx/modules-enabled/50-mod-http-lua.conf" ;;
    esac
    echo "$package" >>"$STATE/installed"
done
if [ -e "$STATE/apt-hangs" ]; then touch "$STATE/apt-is-hanging"; sleep 60; fi
"""

SUDO = r"""
[ -e "$STATE/sudo-works" ] || exit 1
[ "$1" = -n ] && exit
echo "sudo $*" >>"$STATE/calls"
FAKE_UID=0 exec "$@"
"""

EVERYTHING = (
    *("ca-certificates", "nginx", "libnginx-mod-http-lua", "lua-cjson", "etcd-server", "prometheus"),
    *("prometheus-node-exporter", "python3", "python3-venv"),
    *("curl", "debian-archive-keyring", "etcd-client", "libnuma1", "openssl", "postgresql", "procps", "shellcheck"),
    *("strace", "wrk"),
)


@dataclass(frozen=True)
class Machine:
    """The folder, and what to do with it."""

    folder: Path

    @property
    def policy(self) -> Path:
        return self.folder / "root/usr/sbin/policy-rc.d"

    @property
    def postgresql_common(self) -> Path:
        return self.folder / "root/etc/postgresql-common"

    @property
    def enabled(self) -> list[str]:
        return sorted(link.name for link in (self.folder / "root/etc/systemd/system/multi-user.target.wants").iterdir())

    @property
    def modules(self) -> list[str]:
        return sorted(link.name for link in (self.folder / "root/etc/nginx/modules-enabled").iterdir())

    @property
    def calls(self) -> list[str]:
        """Every call of a program that changes the machine."""
        file = self.folder / "state/calls"
        return file.read_text().splitlines() if file.exists() else []

    def say(self, state: str) -> None:
        """Put the machine into a state that the stand-ins know."""
        (self.folder / "state" / state).touch()

    def has(self, packages: Iterable[str]) -> None:
        (self.folder / "state/installed").write_text("".join(f"{package}\n" for package in packages))

    def environment(self, uid: int = 0) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "RAGRID_SYSTEM_ROOT": str(self.folder / "root"),
            "STATE": str(self.folder / "state"),
            "FAKE_UID": str(uid),
        }

    def install(self, which: str = "run", uid: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script where nobody can answer."""
        return subprocess.run(
            (str(SCRIPT), which),
            env={**self.environment(uid), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def install_on_a_terminal(self, answer: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script on a terminal where somebody types `answer`."""
        master, slave = pty.openpty()
        try:
            os.write(master, f"{answer}\n".encode())
            return subprocess.run(
                (str(SCRIPT), "run"),
                env={**self.environment(), **environment},
                stdin=slave,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(master)
            os.close(slave)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with every package; take some away with `has`."""
    made = Machine(tmp_path)
    for folder in ("usr/sbin", "var/lib/dpkg", "etc/init.d", "etc/nginx/modules-enabled"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/etc/systemd/system/multi-user.target.wants").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    (tmp_path / "bin").mkdir()
    programs = {
        "dpkg-query": DPKG_QUERY,
        "apt-get": APT_GET,
        "sudo": SUDO,
        "id": 'echo "$FAKE_UID"',
        "deb-systemd-helper": 'echo "deb-systemd-helper $*" >>"$STATE/calls"',
        "update-rc.d": 'echo "update-rc.d $*" >>"$STATE/calls"',
    }
    for name, script in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    made.has(EVERYTHING)
    return made
