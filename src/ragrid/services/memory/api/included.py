"""What callers may ask for beside the stored document: no part of a version, so it never stands under an ETag."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ragrid.services.memory.api.operation import Parameter
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.model import EmbeddingStatus
from ragrid.services.memory.protocol.embeddings import Embeddings
from ragrid.web.problem import Problem

#: What may be included.
Included = Literal["embedding_status"]

INCLUDE = Parameter(
    name="include",
    place="query",
    schema=Included,
    summary="Adds `embedding_status` to each memory: whether searches have its vector. One memory then has no ETag.",
)


class _Named(msgspec.Struct):
    id: str


_decode = msgspec.json.Decoder(_Named).decode


def wants_status(given: Mapping[str, str]) -> bool:
    """Tell whether the query string asks for it. Raises a 400 Problem for anything else."""
    include = given.get("include")
    if include not in (None, "embedding_status"):
        raise Problem(400, "invalid-parameter", f"parameter 'include': got {include[:40]!r}, wanted 'embedding_status'")
    return include is not None


async def with_status(store: Embeddings, scope: Scope, docs: Sequence[bytes]) -> list[bytes]:
    """Return the documents with their `embedding_status` as their last member."""
    ids = [_decode(doc).id for doc in docs]
    states = await store.embedding_states(scope, ids)
    return [_spliced(doc, states.get(memory_id, "none")) for doc, memory_id in zip(docs, ids, strict=True)]


def _spliced(doc: bytes, status: EmbeddingStatus) -> bytes:
    return doc[:-1] + b',"embedding_status":"' + status.encode() + b'"}'
