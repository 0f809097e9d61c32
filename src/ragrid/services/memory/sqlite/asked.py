"""One search as its parts are asked, and what of their answers may be seen."""

from collections.abc import Sequence

import apsw
import msgspec

from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.ranking.fusion import Ranking
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import seen_statement


class Asked(msgspec.Struct, frozen=True):
    """What is looked for in one namespace. `limit`: results that are shown; `pool`: what each part brings, no less."""

    query: tuple[str, ...]
    wanted: Filter
    ranking: Ranking
    now_us: int
    limit: int
    pool: int


def seen(
    reader: apsw.Connection, namespace: int, positions: Sequence[int], asked: Asked, *, columns: str
) -> Sequence[tuple[int, bytes]]:
    """Return two columns of those of `positions` that may be seen and lie within the filter."""
    statement = seen_statement(
        namespace,
        list(positions),
        asked.wanted,
        columns=columns,
        now_us=asked.now_us,
        include_superseded=asked.ranking.include_superseded,
    )
    return fetch(reader, *statement)
