"""What holds a token to a part of its tenant's memories: the claims `memory_ns` and `memory_user`. Pure.

Both only ever take away. A claim that is there and is not understood makes the token worthless, rather than free.
"""

import re
from collections.abc import Mapping, Sequence

NAMESPACES_CLAIM = "memory_ns"
USER_CLAIM = "memory_user"
#: Patterns that a token may hold, and characters of the user's name, which are those of a memory's `user_id`.
PATTERNS_LIMIT = 16
USER_LIMIT_CHARACTERS = 128

#: A namespace's name in which `*` stands for any characters, also for none.
_PATTERN = re.compile(r"[A-Za-z0-9._~*-]{1,64}")


class ConfinementError(ValueError):
    """What should hold a token to a part of the memories says nothing that can be understood."""


def patterns_from(value: object) -> tuple[str, ...]:
    """Return the patterns in a list. Raises ConfinementError."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= PATTERNS_LIMIT:
        raise ConfinementError(f"{NAMESPACES_CLAIM!r} is not a list of 1 to {PATTERNS_LIMIT} patterns of namespaces")
    for one in value:
        if not isinstance(one, str) or not _PATTERN.fullmatch(one):
            raise ConfinementError(
                f"{NAMESPACES_CLAIM!r} holds what is no pattern: wanted 1 to 64 of A-Z a-z 0-9 . _ ~ - and *"
            )
    return tuple(value)


def user_from(value: object) -> str:
    """Return the user's name. Raises ConfinementError."""
    if not isinstance(value, str) or not 0 < len(value) <= USER_LIMIT_CHARACTERS or not value.isprintable():
        raise ConfinementError(f"{USER_CLAIM!r} is not a string of 1 to {USER_LIMIT_CHARACTERS} printable characters")
    return value


def claims_of_confinement(members: Mapping[str, object]) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the namespaces and the user that the claims of a token hold it to. Raises ConfinementError."""
    patterns = patterns_from(members[NAMESPACES_CLAIM]) if NAMESPACES_CLAIM in members else None
    return patterns, user_from(members[USER_CLAIM]) if USER_CLAIM in members else None


def is_within(name: str, patterns: Sequence[str] | None) -> bool:
    """Tell whether a namespace is one of those that the patterns are for; None stands for every one."""
    return patterns is None or any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    if "*" not in pattern:
        return name == pattern
    first, *middle, last = pattern.split("*")
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    rest = name[len(first) : len(name) - len(last)]
    for part in middle:  # the earliest place of each leaves the most for those that follow
        _, found, rest = rest.partition(part) if part else ("", "*", rest)
        if not found:
            return False
    return True
