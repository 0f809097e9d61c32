"""What the process behind a port costs: memory, processor time, open files; looked up seldom, read cheaply."""

from dataclasses import dataclass

import psutil

from ragrid.system.clock import Clock
from ragrid.system.ports import holder_of

#: Finding who listens on a port reads every process's open files; it is done at most this often per port, seconds.
SEARCH_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading of one process; `started_s` is wall-clock time."""

    pid: int
    resident_bytes: int
    cpu_s: float
    open_files: int
    started_s: float


class ProcessReader:
    """Reads the process that listens on a port of this host. For one thread at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[tuple[str, int], psutil.Process] = {}
        self._searched_s: dict[tuple[str, int], float] = {}

    def read(self, host: str, port: int) -> Usage | None:
        """Return the reading; None when nobody listens there, or the kernel does not show us who."""
        process = self._process(host, port)
        if process is None:
            return None
        try:
            with process.oneshot():
                times = process.cpu_times()
                return Usage(
                    pid=process.pid,
                    resident_bytes=process.memory_info().rss,
                    cpu_s=times.user + times.system,
                    open_files=process.num_fds(),
                    started_s=process.create_time(),
                )
        except psutil.Error:  # gone between two lines, or another user's
            del self._found[(host, port)]
            return None

    def _process(self, host: str, port: int) -> psutil.Process | None:
        key = (host, port)
        known = self._found.get(key)
        if known is not None and known.is_running():
            return known
        now_s = self._clock.monotonic_s()
        if now_s - self._searched_s.get(key, float("-inf")) < SEARCH_EVERY_S:
            return None
        self._searched_s[key] = now_s
        self._found.pop(key, None)
        holder = holder_of(port, host)
        if holder is None or holder.pid is None:
            return None
        try:
            self._found[key] = psutil.Process(holder.pid)
        except psutil.NoSuchProcess:
            return None
        return self._found[key]
