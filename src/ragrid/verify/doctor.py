"""Examines a machine before a grid runs on it: each finding says what was seen, what is wanted, and the fix.

`examine` reads and changes nothing; every `judge_…` is pure, so each verdict is tested without a machine to match.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ragrid.errors import RagridError
from ragrid.system import machine
from ragrid.system.clock import Clock, SystemClock
from ragrid.system.ports import ListeningSocket, is_free, listening_sockets, overlaps, taken_text, with_descendants
from ragrid.verify.finding import Finding, verdict
from ragrid.verify.software import (
    LIBRARIES,
    PROGRAMS,
    PYTHON_PACKAGES,
    Library,
    Program,
    PythonPackage,
    judge_python,
    look_at_libraries,
    look_at_program,
    look_at_python_package,
)

GIGABYTE = 1_000_000_000
DISK_FAIL_BYTES, DISK_WARN_BYTES = 1 * GIGABYTE, 5 * GIGABYTE
MEMORY_WARN_BYTES = 4 * GIGABYTE
#: Every connection is a descriptor, twice at the gateway.
DESCRIPTORS_WANTED = 4096
#: `sun_path` holds 108 bytes with the closing zero (`man 7 unix`).
SOCKET_PATH_BYTES = 107
#: The longest name of a socket below the state directory, with room for what a program adds while it makes it.
SOCKET_NAME_BYTES = 32
#: ragrid did not exist before the first, and certificates end long before the last.
FIRST_YEAR, LAST_YEAR = 2026, 2100
_SECONDS_A_YEAR = 365.2425 * 86_400


@dataclass(frozen=True, slots=True)
class WantedPort:
    """A port that the grid will listen on; `key` is the place in grid.yaml that sets it."""

    key: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What one grid wants of the machine. Ports that `own_pids` or their children hold are its own."""

    state_directory: Path
    ports: tuple[WantedPort, ...] = ()
    own_pids: frozenset[int] = frozenset()
    programs: tuple[Program, ...] = PROGRAMS
    libraries: tuple[Library, ...] = LIBRARIES
    python_packages: tuple[PythonPackage, ...] = PYTHON_PACKAGES


def examine(requirements: Requirements, clock: Clock | None = None) -> tuple[Finding, ...]:
    """Look at everything and return the findings, in the order in which they are best mended; takes about a second."""
    return (
        *_software(requirements),
        *_machine(requirements.state_directory, clock or SystemClock()),
        *_ports(requirements),
    )


def judge_port(wanted: WantedPort, holder: ListeningSocket | None, own_pids: frozenset[int]) -> Finding:
    """Judge a port that cannot be listened on now; `holder` is who listens, None when nobody is seen."""
    name = f"port {wanted.port} ({wanted.key})"
    if holder is not None and holder.pid in own_pids:
        return Finding(name, "ok", f"held by this grid's own {holder.owner}", "free, or the grid's own")
    text, _, fix = taken_text(wanted.key, wanted.host, wanted.port, holder).partition("; ")
    return Finding(name, "fail", text, "free, or the grid's own", fix)


def judge_disk(free_bytes: int, directory: Path) -> Finding:
    """Judge what is free where the state will lie."""
    low = free_bytes < DISK_WARN_BYTES
    return verdict(
        "disk",
        seen=f"{_gigabytes(free_bytes)} free for {directory}",
        wanted=f"{_gigabytes(DISK_WARN_BYTES)} or more, never under {_gigabytes(DISK_FAIL_BYTES)}",
        fix="free some space (`du -xh --max-depth=1 /` shows where it is), or choose another --state DIR",
        status="fail" if free_bytes < DISK_FAIL_BYTES else "warn" if low else "ok",
    )


def judge_memory(seen: machine.Memory) -> Finding:
    """Judge main memory."""
    return verdict(
        "memory",
        seen=f"{_gigabytes(seen.total_bytes)}, {_gigabytes(seen.available_bytes)} of it available",
        wanted=f"{_gigabytes(MEMORY_WARN_BYTES)} or more",
        fix="give the machine or its container more memory, or use the `hashing` embedder",
        status="warn" if seen.total_bytes < MEMORY_WARN_BYTES else "ok",
    )


def judge_clock(now_s: float, is_synchronised: bool | None) -> Finding:
    """Judge the clock: tokens and certificates are refused by a machine that lives in another time."""
    year = int(1970 + now_s / _SECONDS_A_YEAR)
    if not FIRST_YEAR <= year <= LAST_YEAR:
        wanted = f"a year from {FIRST_YEAR} to {LAST_YEAR}"
        return Finding("clock", "fail", f"year {year}", wanted, "set it: sudo timedatectl set-ntp true")
    seen = {
        True: "synchronised",
        False: "not synchronised, as far as the kernel knows",
        None: "synchronisation unknown",
    }
    return verdict(
        "clock",
        seen=f"year {year}, {seen[is_synchronised]}",
        wanted="kept by NTP",
        fix="sudo timedatectl set-ntp true (a virtual machine whose host keeps its clock may ignore this)",
        status="ok" if is_synchronised else "warn",
    )


def judge_descriptors(soft: int, hard: int) -> Finding:
    """Judge how many files and connections a process may have open; the soft limit is raised by whoever starts it."""
    return verdict(
        "open files",
        seen=f"limit {soft}, may be raised to {hard}",
        wanted=f"{DESCRIPTORS_WANTED} or more",
        fix=f"ulimit -n {DESCRIPTORS_WANTED} (for good: /etc/security/limits.d/)",
        status="ok" if soft >= DESCRIPTORS_WANTED else "warn" if hard >= DESCRIPTORS_WANTED else "fail",
    )


def judge_state_path(directory: Path) -> Finding:
    """Judge whether sockets below the state directory have names that the kernel takes."""
    limit = SOCKET_PATH_BYTES - SOCKET_NAME_BYTES
    size = len(os.fsencode(directory))
    return verdict(
        "state directory path",
        seen=f"{size} bytes: {directory}",
        wanted=f"{limit} bytes at most, since sockets lie below it",
        fix="choose a shorter one: --state DIR",
        status="ok" if size <= limit else "fail",
    )


def judge_state_writable(directory: Path, *, is_writable: bool, is_directory: bool) -> Finding:
    """Judge whether the state directory can be written, or made."""
    seen = "is no directory" if not is_directory else "can be written" if is_writable else "cannot be written"
    return verdict(
        "state directory",
        seen=f"{directory} {seen}",
        wanted="a directory that we may write",
        fix=f"sudo install -d -o $USER -m 700 {directory}, or choose another: --state DIR",
        status="ok" if is_writable and is_directory else "fail",
    )


def _software(requirements: Requirements) -> Iterator[Finding]:
    yield judge_python(sys.version_info[:2])
    with ThreadPoolExecutor() as pool:  # each waits for a program to say its version
        yield from pool.map(look_at_program, requirements.programs)
    yield from look_at_libraries(requirements.libraries)
    yield from map(look_at_python_package, requirements.python_packages)


def _machine(directory: Path, clock: Clock) -> Iterator[Finding]:
    directory = directory.absolute()
    existing = machine.nearest_existing(directory)
    yield judge_disk(machine.disk_free_bytes(directory), directory)
    yield judge_memory(machine.memory())
    yield judge_clock(clock.now_s(), machine.clock_is_synchronised())
    yield judge_descriptors(*machine.file_descriptor_limit())
    yield judge_state_path(directory)
    yield judge_state_writable(
        directory, is_writable=os.access(existing, os.W_OK | os.X_OK), is_directory=existing.is_dir()
    )


def _ports(requirements: Requirements) -> Iterator[Finding]:
    if not requirements.ports:
        return
    listening = listening_sockets()
    own_pids = with_descendants(requirements.own_pids)
    for wanted in requirements.ports:
        name = f"port {wanted.port} ({wanted.key})"
        try:
            free = is_free(wanted.host, wanted.port)
        except RagridError as error:
            seen, _, fix = str(error).rpartition("; ")
            yield Finding(name, "fail", seen, "a port that we may listen on", fix)
            continue
        if free:
            yield Finding(name, "ok", f"free on {wanted.host}", "free, or the grid's own")
            continue
        holders = [one for one in listening if one.port == wanted.port and overlaps(one.host, wanted.host)]
        yield judge_port(wanted, holders[0] if holders else None, own_pids)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / GIGABYTE:.1f} GB"
