"""Who watches the supervisor: the agent does, which it started. When its socket is dead, it is started again."""

import asyncio
import contextlib
import logging
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ragrid.drivers.local.driver import SUPERVISOR
from ragrid.system import owned
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: The socket is tried this often, and this many refusals in a row mean that nobody serves it.
LOOK_EVERY_S = 2.0
REFUSALS = 3
#: After a start, the next one waits this long, doubled each time up to the limit; an answer sets it back.
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 300.0
#: A supervisor that accepts but hangs is not ours to judge; a connection attempt gets this long, seconds.
_CONNECT_S = 2.0


@dataclass(frozen=True, slots=True)
class Vigil:
    """How the supervisor stood so far; `not_before_s` is monotonic."""

    refusals: int = 0
    pause_s: float = FIRST_PAUSE_S
    not_before_s: float = 0.0


def looked(vigil: Vigil, *, answered: bool) -> Vigil:
    """Return the vigil after one look at the socket."""
    return Vigil() if answered else replace(vigil, refusals=vigil.refusals + 1)


def must_start(vigil: Vigil, *, now_s: float) -> bool:
    """Whether the supervisor is to be started at monotonic time `now_s`."""
    return vigil.refusals >= REFUSALS and now_s >= vigil.not_before_s


def started(vigil: Vigil, *, now_s: float) -> Vigil:
    """Return the vigil after a start at monotonic time `now_s`; its outcome shows in later looks."""
    return Vigil(0, min(vigil.pause_s * 2, LONGEST_PAUSE_S), now_s + vigil.pause_s)


async def keep_supervised(
    socket: Path, command: tuple[str, ...], *, clock: Clock, on_start: Callable[[], None]
) -> None:
    """Look at `socket` until cancelled, and run `command`, detached, when nobody has served it for long enough."""
    vigil = Vigil()
    child: subprocess.Popen[bytes] | None = None
    while True:
        vigil = looked(vigil, answered=await accepts(socket))
        if child is not None and child.poll() is not None:  # also reaps it
            logger.warning("supervisor ended", extra={"exit_code": child.returncode})
            child = None
        if must_start(vigil, now_s=clock.monotonic_s()):
            logger.warning("supervisor does not answer; starting it", extra={"socket": str(socket)})
            child = spawn(command)
            vigil = started(vigil, now_s=clock.monotonic_s())
            on_start()
        await asyncio.sleep(LOOK_EVERY_S)


async def accepts(socket: Path) -> bool:
    """Whether somebody accepts connections on a unix socket; one that hangs counts as there."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_unix_connection(socket)
    except TimeoutError:
        return True
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def spawn(command: tuple[str, ...]) -> subprocess.Popen[bytes] | None:
    """Start `command` detached from us, so that our end is not its end; None, with a log line, when it cannot run."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=supervisor_environment(os.environ),
        )
    except OSError:
        logger.exception("supervisor cannot be started", extra={"command": command})
        return None


def supervisor_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with the mark of the supervisor in place of ours.

    Under our own mark it would be taken for a leftover of this agent, and ended by the agent that it starts.
    """
    root, separator, _ = own.get(owned.MARK, "").rpartition(":")
    return {**own, **({owned.MARK: owned.mark_of(Path(root), SUPERVISOR)} if separator else {})}
