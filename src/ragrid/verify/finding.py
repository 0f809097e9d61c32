"""One thing that `ragrid doctor` looked at."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen and what is wanted; `fix` is one command or sentence, empty when all is well.

    `warn` is something that will hurt some day, `fail` something that a grid cannot run with.
    """

    name: str
    status: Status
    seen: str
    wanted: str
    fix: str = ""


def verdict(name: str, *, seen: str, wanted: str, fix: str, status: Status) -> Finding:
    """Return the finding; one that is well needs no fix."""
    return Finding(name, status, seen, wanted, "" if status == "ok" else fix)
