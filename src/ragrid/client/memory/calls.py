"""What is asked of the memory service (pure). Reads, and writes with a key or a precondition, may be repeated."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from ragrid.client.calls import Call, Repeat
from ragrid.client.memory.models import Criteria, HistoryPage, Hits, Memory, MemoryPage
from ragrid.errors import RagridError, UsageError

T = TypeVar("T")

PREFIX = "/memory/v1"
MEMORIES = f"{PREFIX}/memories"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def create(namespace: str, members: Mapping[str, Any], key: str) -> Call[Memory]:
    """Make a memory; `key` names this one wish, so that it is made once however often it is asked for."""
    headers = {"idempotency-key": key}
    return _change("POST", MEMORIES, Memory, namespace, content=members, headers=headers, repeat="always")


def put(
    namespace: str, memory_id: str, members: Mapping[str, Any], *, if_version: int | None, if_absent: bool
) -> Call[Memory]:
    """Make or replace the memory at `memory_id`. Raises UsageError when both conditions are given."""
    if if_version is not None and if_absent:
        raise UsageError("put: got `if_version` and `if_absent`, wanted one of them: a version cannot be absent")
    headers = {"if-none-match": "*"} if if_absent else _if_match(if_version)
    repeat: Repeat = "always" if headers else "unsent"
    return _change("PUT", _one(memory_id), Memory, namespace, content=members, headers=headers, repeat=repeat)


def update(namespace: str, memory_id: str, changes: Mapping[str, Any], *, if_version: int | None) -> Call[Memory]:
    """Merge `changes` into a memory (RFC 7396)."""
    headers = _if_match(if_version)
    return _change(
        "PATCH",
        _one(memory_id),
        Memory,
        namespace,
        content=changes,
        headers=headers,
        media_type=MERGE_PATCH,
        repeat="always" if headers else "unsent",
    )


def delete(namespace: str, memory_id: str, *, if_version: int | None) -> Call[None]:
    """Remove a memory; its history stays."""
    headers = _if_match(if_version)
    repeat: Repeat = "always" if headers else "unsent"
    return _change("DELETE", _one(memory_id), type(None), namespace, headers=headers, repeat=repeat)


def get(namespace: str, memory_id: str, *, unless_version: int | None = None) -> Call[Memory]:
    """Ask for a memory, or only for one that is not at `unless_version` any more."""
    headers = {} if unless_version is None else {"if-none-match": f'"{unless_version}"'}
    return _ask(_one(memory_id), Memory, namespace, headers=headers)


def page(namespace: str, criteria: Criteria, *, limit: int, cursor: str | None) -> Call[MemoryPage]:
    """Ask for one page of the memories that match, newest first."""
    given: dict[str, str | tuple[str, ...]] = {
        name: str(value) for name, value in sorted(criteria.items()) if name != "tags" and value is not None
    }
    tags = {"tag": tuple(criteria["tags"])} if criteria.get("tags") else {}
    return _ask(MEMORIES, MemoryPage, namespace, parameters={**given, **tags, **_paging(limit, cursor)})


def history(namespace: str, memory_id: str, *, limit: int, cursor: str | None) -> Call[HistoryPage]:
    """Ask for one page of a memory's versions, newest first."""
    return _ask(f"{_one(memory_id)}/history", HistoryPage, namespace, parameters=_paging(limit, cursor))


def search(namespace: str, query: str, criteria: Criteria, *, k: int, mode: str | None) -> Call[Hits]:
    """Ask for the `k` memories that fit best."""
    body = {"query": query, "k": k, **({"filter": criteria} if criteria else {}), **({"mode": mode} if mode else {})}
    return _change("POST", f"{MEMORIES}/search", Hits, namespace, content=body, repeat="always")


def advanced(call: str, found: str | None, cursor: str | None) -> str | None:
    """Return the cursor to go on with, None at the end. Raises RagridError when it leads nowhere."""
    if found is not None and found == cursor:
        raise RagridError(f"{call}: the grid sent the same page twice; see `ragrid logs memory`")
    return found


def _one(memory_id: str) -> str:
    if not memory_id:
        raise UsageError("memory id: got none, wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return f"{MEMORIES}/{quote(memory_id, safe='')}"


def _paging(limit: int, cursor: str | None) -> Mapping[str, str]:
    return {"limit": str(limit), **({"cursor": cursor} if cursor is not None else {})}


def _if_match(version: int | None) -> Mapping[str, str]:
    return {} if version is None else {"if-match": f'"{version}"'}


def _ask(
    path: str,
    answer: type[T],
    namespace: str,
    *,
    parameters: Mapping[str, str | tuple[str, ...]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    return Call(
        method="GET",
        path=path,
        answer=answer,
        parameters=parameters or {},
        headers={"memory-namespace": namespace, **(headers or {})},
        repeat="always",
    )


def _change(
    method: str,
    path: str,
    answer: type[T],
    namespace: str,
    *,
    content: Mapping[str, Any] | Criteria | None = None,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON,
    repeat: Repeat,
) -> Call[T]:
    typed = {} if content is None else {"content-type": media_type}
    return Call(
        method=method,
        path=path,
        answer=answer,
        content=None if content is None else msgspec.json.encode(content),
        headers={"memory-namespace": namespace, **typed, **(headers or {})},
        repeat=repeat,
    )
