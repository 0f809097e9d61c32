"""The memories nearest to a question, exactly: bounds say which vectors may be among them, and those are compared."""

from collections.abc import Sequence

import apsw
import msgspec
import numpy as np

from ragrid.inference.embedder import FloatArray
from ragrid.services.memory.embedding.matrix import IntArray, best, unpack
from ragrid.services.memory.embedding.sources import GridModel, asked_number, models_of
from ragrid.services.memory.namespaces import Room
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.protocol.search import QueryVector
from ragrid.services.memory.ranking.fusion import Ranked
from ragrid.services.memory.sqlite.files import fetch
from ragrid.services.memory.sqlite.queries import room_of
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.sqlite.vectors import MODELS, ROOM, THERE, allowed_statement, holding_statement

#: How many are looked at first: times what is wanted.
FIRST_LOOK = 2

_encode = msgspec.json.Encoder().encode


class Sought(msgspec.Struct, frozen=True):
    """What may be found, and how many."""

    wanted: Filter
    now_us: int
    limit: int
    include_superseded: bool


def nearest(reader: apsw.Connection, cache: VectorCache, namespace: int, vector: QueryVector, sought: Sought) -> Ranked:
    """Return the `limit` nearest of a namespace with a cosine above 0, the newer first among equals.

    `reader` is in a transaction: each that is returned was seen to hold in its snapshot, within the filter.
    """
    room, models = sources(reader, namespace)
    model = None if room is None else asked_number(room, models, vector.model, len(vector.values))
    if model is None:
        return []
    stamps, bounds = cache.bounds(reader, namespace, model, vector.values)
    look = _Look(reader, namespace, model, vector.values, sought)
    ranked = look.among(stamps, bounds)
    if look.gone:
        there: int = fetch(reader, THERE, (_encode(look.gone).decode(),))[0][0]
        cache.note_stale(namespace, model, len(look.gone) - there)
    if ranked is None:
        # The filter, or what was deleted, left too few of the nearest: look at just those that may be found.
        places = look.allowed(stamps)
        ranked = look.among(stamps[places], bounds[places]) or []
    return ranked


def sources(reader: apsw.Connection, namespace: int) -> tuple[Room | None, tuple[GridModel, ...]]:
    """Return what a namespace says of its vectors, None when it is gone, and the models of the grid."""
    rows = fetch(reader, ROOM, (namespace,))
    return room_of(rows[0]) if rows else None, models_of(fetch(reader, MODELS))


class _Look:
    """One question within one snapshot."""

    def __init__(self, reader: apsw.Connection, namespace: int, model: int, vector: FloatArray, sought: Sought) -> None:
        self._reader = reader
        self._namespace = namespace
        self._model = model
        self._vector = vector.astype(np.float64)
        self._sought = sought
        #: Stamps that were looked at and did not hold.
        self.gone: list[int] = []

    def among(self, stamps: IntArray, bounds: FloatArray) -> Ranked | None:
        """Return the best; None when so few of those looked at hold that the best may be any of the others.

        No vector has a cosine above its bound. So once `limit` of those compared reach what the others have for bounds,
        these are the best; and when they do not, then at the second look, which takes in all whose bounds reach them.
        """
        limit = self._sought.limit
        first = best(bounds, FIRST_LOOK * limit)
        first = first[bounds[first] > 0]
        compared = self._compare(stamps[first].tolist())
        if len(first) < min(FIRST_LOOK * limit, len(bounds)) or len(first) == len(bounds):
            return _ranked(compared, limit)  # the others have no cosine above 0, or there are none
        if len(compared) < limit:
            return None
        least = _ranked(compared, limit)[-1][1] if len(_ranked(compared, limit)) == limit else 0.0
        if least <= bounds[first[-1]]:
            seen = np.zeros(len(bounds), bool)
            seen[first] = True
            more = np.flatnonzero((bounds >= least) & ~seen)
            compared += self._compare(stamps[more].tolist())
        return _ranked(compared, limit)

    def allowed(self, stamps: IntArray) -> IntArray:
        """Return where the stamps of all that may be found stand."""
        sought = self._sought
        statement = allowed_statement(
            self._namespace,
            self._model,
            sought.wanted,
            now_us=sought.now_us,
            include_superseded=sought.include_superseded,
        )
        allowed = np.sort(np.array([stamp for stamp, _ in fetch(self._reader, *statement)], np.int64))
        places = np.searchsorted(stamps, allowed)
        found: IntArray = places[stamps[np.minimum(places, len(stamps) - 1)] == allowed]
        return found

    def _compare(self, stamps: list[int]) -> list[tuple[float, int, int]]:
        """Return `(cosine, stamp, position)` of those that hold."""
        if not stamps:
            return []
        sought = self._sought
        statement = holding_statement(
            self._namespace,
            self._model,
            stamps,
            sought.wanted,
            now_us=sought.now_us,
            include_superseded=sought.include_superseded,
        )
        rows: Sequence[tuple[int, int, bytes]] = fetch(self._reader, *statement)
        if len(rows) < len(stamps):
            holding = {stamp for stamp, _, _ in rows}
            self.gone += [stamp for stamp in stamps if stamp not in holding]
        if not rows:
            return []
        # In double precision, so that equal vectors are equally near wherever they stand.
        cosines = unpack([blob for _, _, blob in rows], len(self._vector)).astype(np.float64) @ self._vector
        return [
            (cosine, stamp, position)
            for cosine, (stamp, position, _) in zip(cosines.astype(np.float32).tolist(), rows, strict=True)
        ]


def _ranked(compared: Sequence[tuple[float, int, int]], limit: int) -> Ranked:
    """Return `(position, cosine)` of the best with a cosine above 0."""
    return [(position, cosine) for cosine, _, position in sorted(compared, reverse=True)[:limit] if cosine > 0]
