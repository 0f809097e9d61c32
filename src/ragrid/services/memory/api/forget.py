"""Forgetting: memories that a filter matches are deleted; first they are counted, and only what was counted goes."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.batch_operations import Author
from ragrid.services.memory.api.confinement import check_purge, held_to
from ragrid.services.memory.api.headers import require_media_type
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import NAMESPACE, SearchFilter, filter_from
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import Change, Condition, Delete, Purge
from ragrid.services.memory.cursor import CursorError, decode_cursor, encode_cursor
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.model import BODY_BYTES
from ragrid.services.memory.protocol.memories import Filter, Written
from ragrid.web.auth import claims_of, require
from ragrid.web.body import decode_json, read_body

#: Memories that one request forgets at most, and those that share a commit: other writers get their turn in between.
FORGET_LIMIT = 10_000
_AT_ONCE = 250

_encode = msgspec.json.Encoder().encode


class ForgetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to forget. `dry_run` counts it and gives a token; sent back with the same filter, it carries it out."""

    filter: SearchFilter
    dry_run: bool = False
    token: Annotated[str, Meta(max_length=200)] | None = None
    #: Erase the history, too (memory:admin).
    purge: bool = False


class ForgetAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """After a dry run `count` and `token`; else how many are forgotten now, and whether that is all of them."""

    count: int | None = None
    token: str | None = None
    forgotten: int | None = None
    is_complete: bool | None = None


class ForgetApi:
    """The operation of forgetting."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (
            Operation(
                method="POST",
                path="/memories/forget",
                id="forgetMemories",
                summary="Deletes what a filter matches; a dry run counts it first and gives the token that this takes.",
                permission="memory:write",
                handler=self._forget,
                parameters=(NAMESPACE,),
                body=Body(schema=ForgetRequest),
                successes=(Success(status=200, summary="What matches, or what was forgotten.", schema=ForgetAnswer),),
                problems=(*NAMESPACE_PROBLEMS, *WRITE_PROBLEMS, *BODY_PROBLEMS, "invalid-body", "invalid-filter"),
            ),
        )

    async def _forget(self, request: Request) -> Answer:
        scope = scope_of(request)
        require_media_type(request, JSON_TYPE)
        asked = decode_json(await read_body(request, BODY_BYTES), ForgetRequest)
        if asked.purge:
            require(request, "memory:admin")
            check_purge(claims_of(request))
        owner = owner_of(request)
        wanted = held_to(filter_from(asked.filter, "/filter"), owner)
        walk = ("forget", asked.purge, *msgspec.structs.astuple(scope), *msgspec.structs.astuple(wanted))
        if asked.dry_run == (asked.token is not None):
            detail = "wanted either `dry_run`: true, or the token of a dry run with this filter"
            raise InvalidBodyError([("/token", detail)])
        if asked.token is None:
            counted = await self._store.count(scope, wanted, now_us=self._parts.now_us())
            answer = ForgetAnswer(count=counted.count, token=encode_cursor(counted.seq, walk))
        else:
            author = Author(scope, claims_of(request).subject, self._parts.now_us(), owner)
            answer = await self._carry_out(wanted, author, asked, _seq_of(asked.token, walk))
        return Answer(200, _encode(answer))

    async def _carry_out(self, wanted: Filter, author: Author, asked: ForgetRequest, up_to_seq: int) -> ForgetAnswer:
        """Delete what was counted and has not changed since; what another writer changes meanwhile stays."""
        scope, now_us, limit = author.scope, author.at_us, FORGET_LIMIT + 1
        chosen = await self._store.chosen(scope, wanted, now_us=now_us, up_to_seq=up_to_seq, limit=limit)
        kind: type[Delete | Purge] = Purge if asked.purge else Delete
        changes: list[Change] = [
            kind(scope, memory_id, author.actor, now_us, Condition(versions=frozenset({version})), author.owner)
            for memory_id, version in chosen[:FORGET_LIMIT]
        ]
        forgotten = 0
        for start in range(0, len(changes), _AT_ONCE):
            results = await self._store.change_all(changes[start : start + _AT_ONCE], is_atomic=False)
            forgotten += sum(isinstance(one, Written) for one in results)
        return ForgetAnswer(forgotten=forgotten, is_complete=len(chosen) <= FORGET_LIMIT)


def _seq_of(token: str, walk: Sequence[object]) -> int:
    try:
        return decode_cursor(token, walk)
    except CursorError as error:
        detail = "not the token of a dry run with this filter, in this namespace; make one"
        raise InvalidBodyError([("/token", detail)]) from error
