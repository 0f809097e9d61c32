"""Where the vectors of a namespace come from, and whether one that a caller brings may stay. Pure; every store decides
alike.

Vectors of the grid's embedders are known by their model. Those that callers bring are known by the namespace: each has
a model of its own, which its first one names, so that nobody sees or hinders another. All brought vectors of one
dimension stand under one number in a store: beside the namespace, that says whose they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ragrid.services.memory.namespaces import Embedder, Room
from ragrid.services.memory.protocol.embeddings import Model, Models
from ragrid.services.memory.vectors import GivenVector


class GridModel(msgspec.Struct, frozen=True):
    """A model of one of the grid's embedders, present or past, as a store knows it; `state`: see ModelState."""

    number: int
    name: str
    dimension: int | None
    state: str


class Turn(msgspec.Struct, frozen=True):
    """What becomes of the vectors of a namespace whose setting was changed.

    `keeps_made`: those of the grid's embedder, and what waits for it; `is_filled`: what lacks them waits from now on.
    """

    keeps_made: bool
    keeps_brought: bool
    is_filled: bool


_TURNS = {
    "grid": Turn(keeps_made=True, keeps_brought=True, is_filled=True),
    "given": Turn(keeps_made=False, keeps_brought=True, is_filled=False),
    "none": Turn(keeps_made=False, keeps_brought=False, is_filled=False),
}


def turn_of(before: Embedder, after: Embedder) -> Turn | None:
    """Return what to do with vectors when the setting changes; None: nothing."""
    return None if before == after else _TURNS[after]


def source_of(setting: Embedder, *, has_models: bool) -> Embedder:
    """Return where vectors come from in truth: without any model of the grid's, callers alone bring them."""
    return "given" if setting == "grid" and not has_models else setting


def is_brought(room: Room, models: Mapping[str, int | None]) -> bool:
    """Tell whether vectors that callers bring are of the namespace's own model, rather than of one of the grid's."""
    return source_of(room.settings.embedder, has_models=bool(models)) == "given"


def fault_of_vector(given: GivenVector, room: Room, models: Mapping[str, int | None]) -> tuple[str, str] | None:
    """Return JSON pointer and fault of a vector that a namespace cannot keep; `models` are the grid's, by name.

    What the namespace's own model is called is not told: a caller that is held to one user need not know.
    """
    source = source_of(room.settings.embedder, has_models=bool(models))
    if source == "none":
        return "/embedding", "the namespace keeps no vectors (its setting `embedder` is none)"
    if source == "given":
        if room.brought is None:
            return None
        if given.model != room.brought.model:
            return "/embedding/model", f"got {given.model!r}, wanted the model of the vectors that this namespace has"
        return _fault_of_dimension(given, room.brought.dimension)
    if given.model not in models:
        wanted = " or ".join(repr(name) for name in sorted(models))
        return "/embedding/model", f"got {given.model!r}, wanted {wanted}, which searches use"
    dimension = models[given.model]
    if dimension is None:
        return "/embedding/model", f"the embedder of {given.model!r} has not answered yet; try again"
    return _fault_of_dimension(given, dimension)


def models_of(rows: Iterable[Iterable[Any]]) -> tuple[GridModel, ...]:
    """Return the models in rows of `(number, name, dimension, state)`."""
    return tuple(GridModel(*row) for row in rows)


def in_use(models: Iterable[GridModel]) -> dict[str, int | None]:
    """Return the models that searches use or will use, by name with their dimensions."""
    return {one.name: one.dimension for one in models if one.state in {"active", "kept", "filling"}}


def models_in_use(models: Iterable[GridModel]) -> Models:
    """Return the model that searches of the grid use, and the one that is to take its place."""
    by_state = {one.state: Model(one.name, one.dimension) for one in models}
    return Models(by_state.get("active") or by_state.get("kept"), by_state.get("filling"))


def searched_number(room: Room, models: Sequence[GridModel]) -> int | None:
    """Return the number of the vectors that searches of a namespace use; None when it has none."""
    source = source_of(room.settings.embedder, has_models=bool(in_use(models)))
    if source == "given":
        return None if room.brought is None else brought_number(room.brought.dimension)
    if source == "none":
        return None
    return next((one.number for one in models if one.state in {"active", "kept"}), None)


def asked_number(room: Room, models: Sequence[GridModel], model: str, dimension: int) -> int | None:
    """Return the number of a namespace's vectors of this model and dimension; None when it has none such."""
    source = source_of(room.settings.embedder, has_models=bool(in_use(models)))
    if source == "given":
        return number_brought(room, model, dimension)
    fitting = (one.number for one in models if (one.name, one.dimension) == (model, dimension))
    return next(fitting, None) if source == "grid" else None


def carried_model(room: Room, models: Sequence[GridModel]) -> tuple[int, str] | None:
    """Return number and name of the model whose vectors an export carries: no embedder could make them anew."""
    if is_brought(room, in_use(models)):
        return None if room.brought is None else (brought_number(room.brought.dimension), room.brought.model)
    kept = ((one.number, one.name) for one in models if one.state == "kept")
    return next(kept, None) if room.settings.embedder == "grid" else None


def brought_number(dimension: int) -> int:
    """Return the number of vectors that callers brought; models of the grid have numbers above 0."""
    return -dimension


def number_brought(room: Room, model: str, dimension: int) -> int | None:
    """Return the number of a namespace's own vectors when they are of that model and dimension."""
    own = room.brought
    return brought_number(dimension) if own and (own.model, own.dimension) == (model, dimension) else None


def _fault_of_dimension(given: GivenVector, dimension: int) -> tuple[str, str] | None:
    if len(given.values) == dimension:
        return None
    return "/embedding/values", f"got {len(given.values)} members, wanted {dimension}"
