"""Reads the messages of msgspec: what is wrong, and the way to it. Pure."""

import re
from typing import NamedTuple

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Place(NamedTuple):
    """What is wrong, and the members and indexes that lead to it; not `is_exact`, it is somewhere further inside."""

    what: str
    steps: list[str]
    is_exact: bool


def place_of(message: str) -> Place:
    """Return what a message of msgspec says. It does not name the key inside a free-form object."""
    match = _WHERE.match(message)
    what, path = (match["what"], match["path"] or "$") if match else (message, "$")
    steps: list[str] = []
    position = 1
    while (step := _STEP.match(path, position)) is not None:
        steps.append(step[1] if step[1] is not None else step[2])
        position = step.end()
    return Place(what, steps, position == len(path))
