"""What is asked of the memory service (pure). Reads, and writes with a key or a precondition, may be repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from ragrid.client.calls import READ_TIMEOUT_S, Call, Repeat
from ragrid.client.memory.models import (
    BatchAnswer,
    Counted,
    Criteria,
    ForgetAnswer,
    HistoryPage,
    Hits,
    Memory,
    MemoryPage,
    SearchOptions,
)
from ragrid.errors import RagridError, UsageError

T = TypeVar("T")

PREFIX = "/memory/v1"
MEMORIES = f"{PREFIX}/memories"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def create(namespace: str, members: Mapping[str, Any], key: str, on_duplicate: str | None = None) -> Call[Memory]:
    """Make a memory; `key` names this one wish, so that it is made once however often it is asked for."""
    call = change(
        "POST", MEMORIES, Memory, namespace, content=members, headers={"idempotency-key": key}, repeat="always"
    )
    return call if on_duplicate is None else replace(call, parameters={"on_duplicate": on_duplicate})


def put(
    namespace: str, memory_id: str, members: Mapping[str, Any], *, if_version: int | None, if_absent: bool
) -> Call[Memory]:
    """Make or replace the memory at `memory_id`. Raises UsageError when both conditions are given."""
    if if_version is not None and if_absent:
        raise UsageError("put: got `if_version` and `if_absent`, wanted one of them: a version cannot be absent")
    headers = {"if-none-match": "*"} if if_absent else if_match(if_version)
    repeat: Repeat = "always" if headers else "unsent"
    return change("PUT", _one(memory_id), Memory, namespace, content=members, headers=headers, repeat=repeat)


def update(namespace: str, memory_id: str, changes: Mapping[str, Any], *, if_version: int | None) -> Call[Memory]:
    """Merge `changes` into a memory (RFC 7396)."""
    headers = if_match(if_version)
    return change(
        "PATCH",
        _one(memory_id),
        Memory,
        namespace,
        content=changes,
        headers=headers,
        media_type=MERGE_PATCH,
        repeat="always" if headers else "unsent",
    )


def delete(namespace: str, memory_id: str, *, if_version: int | None, purge: bool = False) -> Call[None]:
    """Remove a memory; its history stays, unless it is purged."""
    headers = if_match(if_version)
    repeat: Repeat = "always" if headers else "unsent"
    call = change("DELETE", _one(memory_id), type(None), namespace, headers=headers, repeat=repeat)
    return replace(call, parameters={"purge": "true"}) if purge else call


def restore(namespace: str, memory_id: str, *, version: int | None, if_version: int | None) -> Call[Memory]:
    """Make an earlier version the current one again; without `version`, the one before the current."""
    headers = if_match(if_version)
    body = {} if version is None else {"version": version}
    repeat: Repeat = "always" if headers else "unsent"
    return change("POST", f"{_one(memory_id)}/restore", Memory, namespace, content=body, headers=headers, repeat=repeat)


def get(
    namespace: str,
    memory_id: str,
    *,
    unless_version: int | None = None,
    version: int | None = None,
    as_of: datetime | None = None,
) -> Call[Memory]:
    """Ask for a memory: as it is, as it was, or only if it is not at `unless_version` any more."""
    headers = {} if unless_version is None else {"if-none-match": f'"{unless_version}"'}
    past = {"version": str(version)} if version is not None else {}
    if as_of is not None:
        past["as_of"] = msgspec.to_builtins(as_of)
    return ask(_one(memory_id), Memory, namespace, headers=headers, parameters=past)


def page(namespace: str, criteria: Criteria, *, limit: int, cursor: str | None) -> Call[MemoryPage]:
    """Ask for one page of the memories that match, newest first."""
    given: dict[str, str | tuple[str, ...]] = {
        name: str(value) for name, value in sorted(criteria.items()) if name not in ("tags", "where")
    }
    if criteria.get("tags"):
        given["tag"] = tuple(criteria["tags"])
    if criteria.get("where"):
        given["filter"] = msgspec.json.encode(criteria["where"]).decode()
    return ask(MEMORIES, MemoryPage, namespace, parameters={**given, **paging(limit, cursor)})


def history(namespace: str, memory_id: str, *, limit: int, cursor: str | None) -> Call[HistoryPage]:
    """Ask for one page of a memory's versions, newest first."""
    return ask(f"{_one(memory_id)}/history", HistoryPage, namespace, parameters=paging(limit, cursor))


def search(namespace: str, query: str, *, k: int, options: SearchOptions) -> Call[Hits]:
    """Ask for the `k` memories that fit best."""
    names = Criteria.__annotations__
    criteria = {name: value for name, value in options.items() if name in names}
    ranking = {name: value for name, value in options.items() if name not in names}
    body = {"query": query, "k": k, "filter": filter_of(criteria), **ranking}
    return change("POST", f"{MEMORIES}/search", Hits, namespace, content=body, repeat="always")


def batch(namespace: str, operations: Sequence[Mapping[str, Any]], *, atomic: bool) -> Call[BatchAnswer]:
    """Carry out up to 1,000 changes at once."""
    body = {"operations": list(operations), "atomic": atomic, "documents": True}
    return change("POST", f"{MEMORIES}/batch", BatchAnswer, namespace, content=body, repeat="unsent")


def count_to_forget(namespace: str, criteria: Criteria, *, purge: bool) -> Call[ForgetAnswer]:
    """Ask how many memories would be forgotten."""
    body = {"filter": filter_of(criteria), "dry_run": True, "purge": purge}
    return change("POST", f"{MEMORIES}/forget", ForgetAnswer, namespace, content=body, repeat="always")


def counted(answer: ForgetAnswer, criteria: Criteria, *, purge: bool) -> Counted:
    """Return what a dry run said. Raises RagridError when that is no count."""
    if answer.count is None or answer.token is None:
        raise RagridError(f"POST {MEMORIES}/forget: the dry run came without a count; see `ragrid logs memory`")
    return Counted(count=answer.count, token=answer.token, criteria=filter_of(criteria), is_purge=purge)


def forget(namespace: str, counted: Counted) -> Call[ForgetAnswer]:
    """Forget what was counted, up to 10,000 in one call."""
    body = {"filter": counted.criteria, "token": counted.token, "purge": counted.is_purge}
    return change("POST", f"{MEMORIES}/forget", ForgetAnswer, namespace, content=body, repeat="unsent")


def filter_of(criteria: Mapping[str, Any]) -> dict[str, Any]:
    """Return criteria as bodies hold them: plain members, and one tree of comparisons beside them."""
    plain = {name: value for name, value in criteria.items() if name != "where"}
    return {**plain, **criteria.get("where", {})}


def advanced(call: str, found: str | None, cursor: str | None) -> str | None:
    """Return the cursor to go on with, None at the end. Raises RagridError when it leads nowhere."""
    if found is not None and found == cursor:
        raise RagridError(f"{call}: the grid sent the same page twice; see `ragrid logs memory`")
    return found


def _one(memory_id: str) -> str:
    if not memory_id:
        raise UsageError("memory id: got none, wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return f"{MEMORIES}/{quote(memory_id, safe='')}"


def paging(limit: int, cursor: str | None) -> Mapping[str, str]:
    """Return the parameters of one page."""
    return {"limit": str(limit), **({"cursor": cursor} if cursor is not None else {})}


def if_match(version: int | None) -> Mapping[str, str]:
    """Return the header that makes a change conditional on a version."""
    return {} if version is None else {"if-match": f'"{version}"'}


def ask(
    path: str,
    answer: type[T],
    namespace: str,
    *,
    parameters: Mapping[str, str | tuple[str, ...]] | None = None,
    headers: Mapping[str, str] | None = None,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> Call[T]:
    """Return a read of something in a namespace."""
    return Call(
        method="GET",
        path=path,
        answer=answer,
        parameters=parameters or {},
        headers={"memory-namespace": namespace, **(headers or {})},
        repeat="always",
        read_timeout_s=read_timeout_s,
    )


def change(
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
    """Return a change, or a question with a body, to something in a namespace."""
    typed = {} if content is None else {"content-type": media_type}
    return Call(
        method=method,
        path=path,
        answer=answer,
        content=None if content is None else msgspec.json.encode(content),
        headers={"memory-namespace": namespace, **typed, **(headers or {})},
        repeat=repeat,
    )
