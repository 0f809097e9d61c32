"""A disk that fails or hangs under one process: its system calls are answered by strace instead of the kernel."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from ragrid.system.process import find_program

#: The calls that bring data to a disk, as SQLite makes them.
WRITING = "pwrite64,fdatasync,fsync,ftruncate"
#: How long attaching and letting go may take, seconds.
ATTACH_S = 20.0


@contextlib.contextmanager
def broken_disk(pid: int, fault: str, *, calls: str = WRITING) -> Iterator[None]:
    """Answer `calls` of the process with `fault`, `error=EIO` or `delay_enter=MICROSECONDS`, while inside."""
    strace = find_program("strace", package="strace")
    command = (strace, "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}", "-p", str(pid))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            first = tracer.stderr.readline()
            if "attached" not in first:
                pytest.fail(f"strace did not attach: {first or 'no word'}")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.communicate(timeout=ATTACH_S)
            tracer.kill()
