"""A unit test is about one piece, in this process: what it would reach outside is refused with a word of advice."""

import os
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import settings

HERE = Path(__file__).parent
#: What nothing pure does, as https://docs.python.org/3.11/library/audit_events.html names it.
OUTSIDE = frozenset(
    ("os.fork", "os.posix_spawn", "os.system", "socket.bind", "socket.connect", "sqlite3.connect", "subprocess.Popen")
)
#: How often a property is tried: few here, more in `scripts/run-tests all`.
EXAMPLES = int(os.environ.get("RAGRID_EXAMPLES", "25"))
OTHERS = settings.get_current_profile_name()
settings.register_profile("unit", settings.get_profile(OTHERS), max_examples=EXAMPLES, deadline=None)
_running: list[str] = []


def refuse(what: str) -> None:
    """Raise AssertionError for a test of this folder: those of others share the process, and leave threads in it."""
    if _running and threading.current_thread() is threading.main_thread():
        raise AssertionError(f"{what} in {_running[-1]}: such a test belongs in tests/component, see CONTRIBUTING.md")


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in OUTSIDE:
        refuse(event)


sys.addaudithook(_audit)
apsw.connection_hooks.append(lambda _: refuse("apsw.Connection"))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Import the files of this folder with its number of examples."""
    settings.load_profile("unit")
    try:
        return (yield)
    finally:
        settings.load_profile(OTHERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say which test runs, its fixtures included; pytest asks here for tests of other folders, too."""
    _running[:] = [item.nodeid] if item.path.is_relative_to(HERE) else []
    try:
        return (yield)
    finally:
        _running.clear()


@pytest.fixture(autouse=True, scope="module")
def _nobody_is_trusted() -> Iterator[None]:
    """Each TLS context would read the authorities of this system, which takes 20 ms; nothing connects here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            patch.setenv(name, os.devnull)
        yield
