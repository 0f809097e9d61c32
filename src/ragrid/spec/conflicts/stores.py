"""Where things are kept: what several hosts share, and where copies go."""

from collections.abc import Iterator, Sequence

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.faults import Path
from ragrid.spec.models import Grid


def tokens_can_be_shared(grid: Grid) -> Iterator[Conflict]:
    """Tokens on several hosts have a store that several processes can share."""
    yield from _shared(("auth",), grid.auth.store, grid.auth.on, "tokens")


def memory_can_be_shared(grid: Grid) -> Iterator[Conflict]:
    """Memory on several hosts has a store that several processes can share."""
    memory = grid.services.memory
    if memory is not None:
        yield from _shared(("services", "memory"), memory.store, memory.on, "memory")


def database_runs_once(grid: Grid) -> Iterator[Conflict]:
    """The grid's own PostgreSQL runs on one host: two would be two truths."""
    if grid.runs_database and len(grid.database.on) > 1:
        path: Path = ("database", "on")
        yield Conflict(path, f"{len(grid.database.on)} hosts", "one", "name one; for a replicated one give its `url`")


def repositories_are_distinct(grid: Grid) -> Iterator[Conflict]:
    """No two backups go to the same folder."""
    seen: set[str] = set()
    for position, repository in enumerate(grid.backup.repositories if grid.backup is not None else ()):
        if str(repository.path) in seen:
            path: Path = ("backup", "repositories", position)
            yield Conflict(path, f"'{repository.path}' twice", "each folder once", "delete one of the two")
        seen.add(str(repository.path))


def _shared(here: Path, store: str, hosts: Sequence[str], what: str) -> Iterator[Conflict]:
    if store == "sqlite" and len(hosts) > 1:
        wanted = f"`postgresql` for {what} on {len(hosts)} hosts"
        yield Conflict((*here, "store"), "'sqlite'", wanted, "change it, or name one host", ((*here, "on"),))
