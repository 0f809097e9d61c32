"""What it takes to turn what runs into what is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What is done to one part."""

    START = "start"
    RESTART = "restart"
    RELOAD = "reload"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One part as it should run; equal revisions mean: nothing to do.

    Of a part that can take new files while it runs, the revision is `BEGINNING/FILES`: while the beginning is the same,
    it needs no restart.
    """

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Step:
    """One action on one part; `revision` is what runs afterwards (empty after a stop)."""

    action: Action
    part: str
    revision: str = ""


def diff(wanted: Sequence[Wanted], seen: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps that turn `seen` (name -> revision) into `wanted`.

    Stops come first, since a part that goes may hold a port that a new one needs; then starts and restarts in the order
    of `wanted`, which is the order of dependence. The same arguments give the same steps, and none when all is well.
    """
    names = {part.name for part in wanted}
    stops = (Step(Action.STOP, name) for name in sorted(seen.keys() - names))
    changes = (
        Step(_change(part.revision, seen.get(part.name)), part.name, part.revision)
        for part in wanted
        if seen.get(part.name) != part.revision
    )
    return (*stops, *changes)


def _change(wanted: str, seen: str | None) -> Action:
    if seen is None:
        return Action.START
    is_reload = "/" in wanted and seen.partition("/")[0] == wanted.partition("/")[0]
    return Action.RELOAD if is_reload else Action.RESTART
