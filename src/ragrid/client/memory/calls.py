"""What is asked of the memory service (pure). Reads, and writes with a key or a precondition, may be repeated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from ragrid.client.calls import READ_TIMEOUT_S, Call
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
#: How many items one page of a list holds: the most that the service gives.
PAGE = 200

_MAKE_IT_REPEATABLE = frozenset({"idempotency-key", "if-match", "if-none-match"})


def create(namespace: str, members: Mapping[str, Any], key: str, on_duplicate: str | None = None) -> Call[Memory]:
    """Make a memory; `key` names this one wish, so that it is made once however often it is asked for."""
    call = change("POST", MEMORIES, Memory, namespace, content=members, headers={"idempotency-key": key})
    return call if on_duplicate is None else replace(call, parameters={"on_duplicate": on_duplicate})


def put(
    namespace: str, memory_id: str, members: Mapping[str, Any], *, if_version: int | None, if_absent: bool
) -> Call[Memory]:
    """Make or replace the memory at `memory_id`. Raises UsageError when both conditions are given."""
    if if_version is not None and if_absent:
        raise UsageError("put: got `if_version` and `if_absent`, wanted one of them: a version cannot be absent")
    headers = {"if-none-match": "*"} if if_absent else if_match(if_version)
    return change("PUT", _one(memory_id), Memory, namespace, content=members, headers=headers)


def update(namespace: str, memory_id: str, changes: Mapping[str, Any], *, if_version: int | None) -> Call[Memory]:
    """Merge `changes` into a memory (RFC 7396)."""
    return change("PATCH", _one(memory_id), Memory, namespace, content=changes, headers=if_match(if_version))


def delete(namespace: str, memory_id: str, *, if_version: int | None, purge: bool = False) -> Call[None]:
    """Remove a memory; its history stays, unless it is purged."""
    call = change("DELETE", _one(memory_id), type(None), namespace, headers=if_match(if_version))
    return replace(call, parameters={"purge": "true"}) if purge else call


def restore(namespace: str, memory_id: str, *, version: int | None, if_version: int | None) -> Call[Memory]:
    """Make an earlier version the current one again; without `version`, the one before the current."""
    path, body = f"{_one(memory_id)}/restore", {} if version is None else {"version": version}
    return change("POST", path, Memory, namespace, content=body, headers=if_match(if_version))


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


def page(namespace: str, criteria: Criteria, cursor: str | None) -> Call[MemoryPage]:
    """Ask for one page of the memories that match, newest first."""
    given: dict[str, str | tuple[str, ...]] = {
        name: str(value) for name, value in sorted(criteria.items()) if name not in ("tags", "where")
    }
    if criteria.get("tags"):
        given["tag"] = tuple(criteria["tags"])
    if criteria.get("where"):
        given["filter"] = msgspec.json.encode(criteria["where"]).decode()
    return ask(MEMORIES, MemoryPage, namespace, parameters={**given, **paging(cursor)})


def history(namespace: str, memory_id: str, cursor: str | None) -> Call[HistoryPage]:
    """Ask for one page of a memory's versions, newest first."""
    return ask(f"{_one(memory_id)}/history", HistoryPage, namespace, parameters=paging(cursor))


def search(namespace: str, query: str, *, k: int, options: SearchOptions) -> Call[Hits]:
    """Ask for the `k` memories that fit best."""
    names = Criteria.__annotations__
    criteria = {name: value for name, value in options.items() if name in names}
    ranking = {name: value for name, value in options.items() if name not in names}
    body = {"query": query, "k": k, "filter": filter_of(criteria), **ranking}
    return question(f"{MEMORIES}/search", Hits, namespace, body)


def batch(namespace: str, operations: Sequence[Mapping[str, Any]], *, atomic: bool) -> Call[BatchAnswer]:
    """Carry out up to 1,000 changes at once."""
    body = {"operations": list(operations), "atomic": atomic, "documents": True}
    return change("POST", f"{MEMORIES}/batch", BatchAnswer, namespace, content=body)


def count_to_forget(namespace: str, criteria: Criteria, *, purge: bool) -> Call[ForgetAnswer]:
    """Ask how many memories would be forgotten."""
    body = {"filter": filter_of(criteria), "dry_run": True, "purge": purge}
    return question(f"{MEMORIES}/forget", ForgetAnswer, namespace, body)


def counted(answer: ForgetAnswer, criteria: Criteria, *, purge: bool) -> Counted:
    """Return what a dry run said. Raises RagridError when that is no count."""
    if answer.count is None or answer.token is None:
        raise RagridError(f"POST {MEMORIES}/forget: the dry run came without a count; see `ragrid logs memory`")
    return Counted(count=answer.count, token=answer.token, criteria=filter_of(criteria), is_purge=purge)


def forget(namespace: str, counted: Counted) -> Call[ForgetAnswer]:
    """Forget what was counted, up to 10,000 in one call."""
    body = {"filter": counted.criteria, "token": counted.token, "purge": counted.is_purge}
    return change("POST", f"{MEMORIES}/forget", ForgetAnswer, namespace, content=body)


def filter_of(criteria: Mapping[str, Any]) -> dict[str, Any]:
    """Return criteria as bodies hold them: plain members, and one tree of comparisons beside them."""
    plain = {name: value for name, value in criteria.items() if name != "where"}
    return {**plain, **criteria.get("where", {})}


def _one(memory_id: str) -> str:
    if not memory_id:
        raise UsageError("memory id: got none, wanted 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    return f"{MEMORIES}/{quote(memory_id, safe='')}"


def paging(place: str | None, *, name: str = "cursor") -> Mapping[str, str]:
    """Return the parameters of one page; `name` is what the list calls the place where it begins."""
    return {"limit": str(PAGE), **({name: place} if place is not None else {})}


def if_match(version: int | None) -> Mapping[str, str]:
    """Return the header that makes a change conditional on a version."""
    return {} if version is None else {"if-match": f'"{version}"'}


def ask(
    path: str,
    answer: type[T],
    namespace: str | None,
    *,
    parameters: Mapping[str, str | tuple[str, ...]] | None = None,
    headers: Mapping[str, str] | None = None,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> Call[T]:
    """Return a read of something in a namespace, or, without one, of something that is the tenant's."""
    return Call(
        method="GET",
        path=path,
        answer=answer,
        parameters=parameters or {},
        headers={**_within(namespace), **(headers or {})},
        repeat="always",
        read_timeout_s=read_timeout_s,
    )


def question(path: str, answer: type[T], namespace: str, body: Mapping[str, Any]) -> Call[T]:
    """Return a read whose question is too long for an address; like any read it may be repeated."""
    return replace(change("POST", path, answer, namespace, content=body), repeat="always")


def change(
    method: str,
    path: str,
    answer: type[T],
    namespace: str | None,
    *,
    content: Mapping[str, Any] | Criteria | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    """Return a change to something in a namespace, or, without one, to something that is the tenant's.

    With a key or a precondition among the headers a second arrival changes nothing, so it may be repeated.
    """
    given = headers or {}
    media_type = MERGE_PATCH if method == "PATCH" else JSON
    typed = {} if content is None else {"content-type": media_type}
    return Call(
        method=method,
        path=path,
        answer=answer,
        content=None if content is None else msgspec.json.encode(content),
        headers={**_within(namespace), **typed, **given},
        repeat="always" if given.keys() & _MAKE_IT_REPEATABLE else "unsent",
    )


def _within(namespace: str | None) -> Mapping[str, str]:
    return {} if namespace is None else {"memory-namespace": namespace}
