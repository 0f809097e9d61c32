"""Which model is in use, and what becomes of the others. Pure; every store decides alike."""

from collections.abc import Mapping, Sequence
from typing import Literal

from ragrid.errors import RagridError
from ragrid.services.memory.protocol.embeddings import Embedded

#: `active`: searches use it. `filling`: its vectors are made beside those. `kept`: searches use it, but there is no
#: embedder for it any more. `replaced`: kept until the settings drop it. `dropped`: going.
ModelState = Literal["active", "filling", "kept", "replaced", "dropped"]


def states_of(before: Mapping[str, str], wanted: Sequence[str]) -> dict[str, ModelState]:
    """Return the state of each model once there are embedders for `wanted`: the one in use first, then the one to come.

    The one to come stays in use where it has taken over before. Without any embedder, no vector is dropped.
    """
    if not wanted:
        return {name: "kept" if state in {"active", "kept"} else "replaced" for name, state in before.items()}
    in_use = next((name for name in wanted if before.get(name) in {"active", "kept"}), wanted[0])
    after: dict[str, ModelState] = dict.fromkeys(before, "dropped")
    for place, name in enumerate(wanted):
        after[name] = "filling" if place > wanted.index(in_use) else "replaced"
    after[in_use] = "active"
    return after


def dimension_of(name: str, embedded: Sequence[Embedded], dimension: int | None) -> int | None:
    """Return the dimension of a model after these vectors. Raises RagridError when they disagree with it."""
    for one in embedded:
        if one.vector is None:
            continue
        dimension = dimension or len(one.vector)
        if len(one.vector) != dimension:
            message = f"{name}: got a vector of {len(one.vector)} members, wanted {dimension}"
            raise RagridError(f"{message}; another model needs another name")
    return dimension
