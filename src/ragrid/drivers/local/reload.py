"""New files for a part that goes on running: checked before they lie in its place, taken back when they do not work."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.part import Part, Reload
from ragrid.drivers.local.supervisor import SupervisorControl
from ragrid.errors import RagridError
from ragrid.system.files import PRIVATE, write_atomic, write_if_changed
from ragrid.system.process import run

#: nginx tries five times, half a second apart, to bind an address that is taken, and then keeps its old configuration.
IN_FORCE_WAIT_S = 10.0
#: nginx lets its old workers accept for a tenth of a second after the new ones began.
SETTLE_S = 0.5
_CHECK_TIMEOUT_S = 30.0
_POLL_S = 0.05
#: What nginx puts before a reason: time, level and process.
_EMERGENCY = re.compile(r"^.*\[emerg\] (\d+#\d+: )?(\*\d+ )?")


def digest_of(part: Part) -> str:
    """Return a digest of what a part must read again when others change it; nothing for a part that cannot reload."""
    if part.reload is None:
        return ""
    seen = hashlib.sha256()
    for path in part.reload.watched:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                seen.update(f"{file}\0".encode() + file.read_bytes())
    return "." + seen.hexdigest()[:16]


def check_files(layout: Layout, part: Part) -> None:
    """Ask the part's own program whether it would take the new files.

    Raises RagridError with its reason, which is also noted; the files in force are not touched.
    """
    if part.reload is None:
        return
    with _staged(layout, part, part.reload) as directory:
        done = run((*part.reload.check, f"{directory}/"), timeout_s=_CHECK_TIMEOUT_S, check=False)
    if done.exit_code != 0:
        _refuse(part, part.reload, _reason(done.stderr or done.stdout))


def reload_part(layout: Layout, part: Part, control: SupervisorControl) -> None:
    """Put the part's checked files in place and make it read them; returns once they are in force.

    Raises RagridError when that does not happen in time; the old files are in place again then, as they are in force.
    """
    if part.reload is None:
        raise RagridError(f"{part.name}: cannot reload; restart it")
    log = layout.log / f"{part.name}.log"
    log_bytes = log.stat().st_size if log.exists() else 0
    before = {name: _content(layout.root / name) for name in part.files}
    loaded = _figure(part.reload)
    for name, content in sorted(part.files.items()):
        write_if_changed(layout.root / name, content, mode=PRIVATE)
    control.signal(part.name, "HUP")
    if _is_in_force(part.reload, loaded):
        _note(part.reload, is_successful=True, reason="")
        return
    for name, old in before.items():
        if old is not None:
            write_if_changed(layout.root / name, old, mode=PRIVATE)
    said = log.read_bytes()[log_bytes:].decode(errors="replace") if log.exists() else ""
    _refuse(part, part.reload, _reason(said) or f"not in force after {IN_FORCE_WAIT_S:g} s")


@contextmanager
def _staged(layout: Layout, part: Part, reload: Reload) -> Iterator[Path]:
    """The part's new files in a folder of their own, for as long as the block lasts."""
    directory = layout.run / f"{part.name}.next"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        for name, content in part.files.items():
            if name.startswith(f"{reload.directory}/"):
                write_atomic(directory / name.removeprefix(f"{reload.directory}/"), content, mode=PRIVATE)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _figure(reload: Reload) -> float:
    """Return the figure that grows with each reload; 0 while nobody answers."""
    try:
        page = httpx.get(reload.page, timeout=2.0, trust_env=False).text
    except httpx.HTTPError:
        return 0.0
    found = re.search(rf"^{re.escape(reload.metric)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _is_in_force(reload: Reload, loaded_before: float) -> bool:
    """Tell whether new processes answer, and for SETTLE_S no old one any more."""
    deadline = time.monotonic() + IN_FORCE_WAIT_S
    since: float | None = None
    while time.monotonic() < deadline:
        is_new = _figure(reload) > loaded_before
        since = (since or time.monotonic()) if is_new else None
        if since is not None and time.monotonic() - since > SETTLE_S:
            return True
        time.sleep(_POLL_S)
    return False


def _reason(said: str) -> str:
    """Return what a program complained of: its last line that is marked as an emergency, else its last words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [_EMERGENCY.sub("", line) for line in lines if "[emerg]" in line]
    bound = [line for line in marked if "bind() to" in line]
    return (bound or marked or lines[-1:] or [""])[-1][:500]


def _refuse(part: Part, reload: Reload, reason: str) -> None:
    _note(reload, is_successful=False, reason=reason)
    raise RagridError(
        f"{part.name}: the new configuration was refused and the old one stays in force: {reason};"
        " mend grid.yaml and run `ragrid up` again"
    )


def _note(reload: Reload, *, is_successful: bool, reason: str) -> None:
    """Note the result for whoever exports it."""
    if reload.outcome.parent.is_dir():
        content = json.dumps({"is_successful": is_successful, "reason": reason}) + "\n"
        write_atomic(reload.outcome, content.encode(), mode=PRIVATE)
