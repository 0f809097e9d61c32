#!/usr/bin/env python3
"""Put one Debian package into a folder of its own, for tests: `fetch_package.py consul --suite bullseye --into DIR`.

Debian 12 has no Consul and Debian 11 has. apt fetches it from the mirror that this machine already uses, checked by
Debian's own keys, with lists and cache in a temporary folder: the machine's apt set-up is read and never written, root
is not needed, and nothing is installed. Running it again does nothing.
"""

import argparse
import contextlib
import fcntl
import os
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIMEOUT_S = 200.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the package is there, else 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder to unpack into")
    parser.add_argument("--suite", help="Debian suite to take it from; default: this machine's own")
    asked = parser.parse_args(arguments)
    into: Path = asked.into.absolute()
    into.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(into.parent / f".{into.name}.lock"):
            if not into.is_dir():
                fetch(asked.package, asked.suite or codename(), into)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        said = getattr(error, "stderr", "") or ""
        print(f"fetch_package: {asked.package}: {error} {said}".rstrip(), file=sys.stderr)
        return 1
    return 0


def fetch(package: str, suite: str, into: Path) -> None:
    """Download the package and unpack it, so that `into` is there whole or not at all."""
    mirror = find_mirror(Path("/etc/apt"), codename())
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{package}.") as name:
        scratch = Path(name)
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (scratch / folder).mkdir(parents=True)
        (scratch / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        _apt(scratch, "update")
        _apt(scratch, "download", package)
        (archive,) = scratch.glob(f"{package}_*.deb")
        _run(["dpkg-deb", "-x", str(archive), str(scratch / "unpacked")], scratch)
        (scratch / "unpacked").rename(into)


def codename() -> str:
    """Return the name of this machine's own Debian suite."""
    found = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError("/etc/os-release: no VERSION_CODENAME; is this Debian?")
    return found.group(1)


def find_mirror(etc_apt: Path, suite: str) -> str:
    """Return the address from which this machine gets `suite`, out of its own lists in either format."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    for path in files:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        found = _mirror_of_stanzas(text, suite) if path.suffix == ".sources" else _mirror_of_lines(text, suite)
        if found:
            return found
    raise RuntimeError(f"{etc_apt}: no list names {suite} main; add Debian's mirror there")


def _mirror_of_lines(text: str, suite: str) -> str | None:
    """Return the address in a one-line entry: `deb [options] URI SUITE COMPONENT…`."""
    pattern = rf"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+{re.escape(suite)}\s+(?:\S+\s+)*main\b"
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else None


def _mirror_of_stanzas(text: str, suite: str) -> str | None:
    """Return the address in a stanza of the newer format: `URIs:`, `Suites:`, `Components:`."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
        if "deb" in fields.get("Types", "").split() and suite in suites and "main" in components and fields.get("URIs"):
            return str(fields["URIs"].split()[0])
    return None


def _apt(scratch: Path, *verb: str) -> None:
    """Run apt-get with lists, cache and state of its own; proxies and certificates of the machine still hold."""
    options = {
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": scratch / "state",
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": scratch / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "APT::Sandbox::User": pwd.getpwuid(os.geteuid()).pw_name,
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _run(["apt-get", "-qq", *flags, *verb], scratch)


def _run(command: Sequence[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, so that two test runs do not fetch at once."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
