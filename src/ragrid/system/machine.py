"""What this machine has: disk, memory, processors, clock, distribution, limits. Read, never changed."""

import ctypes
import os
import platform
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Where the kernel shows the memory limit of our control group: version 2, then version 1.
CGROUP_MEMORY_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

#: adjtimex(2) answers this when the clock is not synchronised.
TIME_ERROR = 5
#: More than sizeof(struct timex) on every Linux (208 bytes on 64 bits); all zero means "read, change nothing".
TIMEX_SIZE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory that processes here may use: the machine's, or less when a control group limits it."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """The Linux distribution, as os-release names it."""

    id: str
    version: str
    name: str


def nearest_existing(path: Path) -> Path:
    """Return `path` or its closest ancestor that exists, as far as we may see."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110 - Path.exists may raise


def disk_free_bytes(path: Path) -> int:
    """Return what we may still write to the file system that holds `path`, or will hold it once it is made."""
    return shutil.disk_usage(nearest_existing(path)).free


def memory(limit_files: tuple[Path, ...] = CGROUP_MEMORY_FILES) -> Memory:
    """Return total and available memory."""
    seen = psutil.virtual_memory()
    limit = min((one for one in map(_limit_bytes, limit_files) if one is not None), default=seen.total)
    total = min(seen.total, limit)
    return Memory(total_bytes=total, available_bytes=min(seen.available, total))


def cpu_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def distribution() -> Distribution:
    """Return the distribution; every member is "unknown" where there is no os-release file."""
    try:
        seen = platform.freedesktop_os_release()
    except OSError:
        seen = {}
    unknown = "unknown"
    return Distribution(seen.get("ID", unknown), seen.get("VERSION_ID", unknown), seen.get("PRETTY_NAME", unknown))


def clock_is_synchronised() -> bool | None:
    """Return whether the kernel says that something keeps its clock right; None when it does not say.

    It is the same reading that `timedatectl` shows, without needing systemd. A virtual machine whose host keeps the
    clock may be right and still say False.
    """
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_SIZE_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != TIME_ERROR


def file_descriptor_limit() -> tuple[int, int]:
    """Return the soft and the hard limit of open files of this process; an absent limit is a very large number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _bounded(soft), _bounded(hard)


def _bounded(limit: int) -> int:
    """Return the limit as a number that compares as it should; "unlimited" is -1 in the kernel's answer."""
    return 2**63 - 1 if limit == resource.RLIM_INFINITY else limit


def _limit_bytes(path: Path) -> int | None:
    """Return the number in a control group file, or None when there is none ("max", no file)."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
