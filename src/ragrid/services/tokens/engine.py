"""What the store asks of a database: durable changes, one at a time among all processes, and rows."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Binding = str | float | bytes | None


class Engine(Protocol):
    """One open database; `where` names it in messages, without a password. For one thread at a time."""

    @property
    def where(self) -> str:
        """A file or an address."""
        ...

    def change(self) -> AbstractContextManager[None]:
        """Make the block one durable change that runs alone: what it reads, no other process changes meanwhile.

        All of it is on disk when this ends, or none of it. Raises UnreachableError when the database cannot do it now.
        """
        ...

    def rows(self, query: str, bindings: Sequence[Binding] = ()) -> list[tuple[Any, ...]]:
        """Run one statement that SQLite and PostgreSQL understand alike, `?` for each binding."""
        ...

    def announce(self) -> None:
        """Inside a change: tell the other processes, when it is done, that they should look again."""
        ...

    def listen(self, heard: Callable[[], object]) -> None:
        """Call `heard`, in whatever thread, after another process has announced a change."""
        ...

    def scrub(self) -> None:
        """Remove what was deleted from where it lingers, as far as the database lets itself be told."""
        ...

    def close(self) -> None:
        """Let go of the database; what was committed is in it."""
        ...
