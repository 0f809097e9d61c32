"""Context packs: what an agent should know now, within a budget of tokens."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import confined, held_to
from ragrid.services.memory.api.headers import require_media_type
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    NAMESPACE_PROBLEMS,
    Body,
    Operation,
    Success,
    owner_of,
    scope_of,
)
from ragrid.services.memory.api.parameters import NAMESPACE, SearchFilter, filter_from
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import Scope
from ragrid.services.memory.context import (
    LeftOut,
    Offer,
    Piece,
    memory_piece,
    message_piece,
    pack,
    state_piece,
)
from ragrid.services.memory.filters.model import Every, Term
from ragrid.services.memory.model import BODY_BYTES, MemoryId
from ragrid.services.memory.protocol.memories import Filter
from ragrid.services.memory.recall import Degraded, Mode, Question
from ragrid.services.memory.words import QUERY_CHARACTERS, words_of
from ragrid.web.body import decode_json, read_body

#: Largest budget, tokens.
BUDGET_TOKENS = 1_000_000
#: Pinned memories that are looked at.
PINNED = 50
MEMORIES = 100
MESSAGES = 200
#: Of what there was no room for, an answer names the first.
LEFT_OUT_SHOWN = 50

_encode = msgspec.json.Encoder().encode
_IS_PINNED = Term(path=("pinned",), kind="boolean", op="eq", value=True)


class ContextRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request for a pack. Without a query nothing is searched, without a session nobody spoke."""

    budget_tokens: Annotated[int, Meta(ge=1, le=BUDGET_TOKENS)]
    query: Annotated[str, Meta(max_length=QUERY_CHARACTERS)] = ""
    session_id: MemoryId | None = None
    filter: SearchFilter = SearchFilter()
    mode: Mode | None = None
    #: How many memories and messages to choose from.
    memories: Annotated[int, Meta(ge=0, le=MEMORIES)] = 20
    messages: Annotated[int, Meta(ge=0, le=MESSAGES)] = 50
    #: What part of the budget messages get before memories do.
    message_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    include_pinned: bool = True
    include_state: bool = True
    bytes_per_token: Annotated[float, Meta(ge=1, le=8)] = 3.0


class ContextAnswer(msgspec.Struct, frozen=True):
    """A pack, in the order in which a model should read it. `left_out` names the first of what had no room."""

    items: tuple[Piece, ...]
    budget_tokens: int
    used_tokens: int
    left_out: tuple[LeftOut, ...]
    left_out_count: int
    mode_used: Mode | None
    degraded: tuple[Degraded, ...]


class ContextApi:
    """The operation of context packs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return the one operation."""
        return (
            Operation(
                method="POST",
                path="/context",
                id="packContext",
                summary="Chooses what fits into a budget of tokens: what is pinned, what is found, and the session.",
                permission="memory:read",
                handler=self._pack,
                parameters=(NAMESPACE,),
                body=Body(schema=ContextRequest),
                successes=(Success(status=200, summary="The pack.", schema=ContextAnswer),),
                problems=(*NAMESPACE_PROBLEMS, *BODY_PROBLEMS, "invalid-body", "invalid-filter"),
            ),
        )

    async def _pack(self, request: Request) -> Answer:
        scope = scope_of(request)
        require_media_type(request, JSON_TYPE)
        wanted = decode_json(await read_body(request, BODY_BYTES), ContextRequest)
        owner = owner_of(request)
        if owner is not None and wanted.session_id is not None:
            raise confined(f"the token is for the memories of {owner!r} alone, and a session is no memory")
        within = held_to(filter_from(wanted.filter, "/filter"), owner)
        now_us = self._parts.now_us()
        mode_used: Mode | None = None
        degraded: tuple[Degraded, ...] = ()
        found: list[Piece] = []
        if wanted.memories and words_of(wanted.query):
            question = Question(text=wanted.query, mode=wanted.mode, wanted=within, limit=wanted.memories)
            answer = await self._parts.recall.find(scope, question, now_us=now_us)
            mode_used, degraded = answer.mode_used, answer.degraded
            found = [memory_piece(hit.doc, "found", wanted.bytes_per_token, score=hit.score) for hit in answer.hits]
        offer = Offer(
            state=await self._state(scope, wanted, now_us),
            pinned=await self._pinned(scope, wanted, within, now_us),
            found=found,
            recent=await self._recent(scope, wanted, now_us),
        )
        packed = pack(offer, budget_tokens=wanted.budget_tokens, message_share=wanted.message_share)
        body = ContextAnswer(
            items=packed.items,
            budget_tokens=wanted.budget_tokens,
            used_tokens=packed.used_tokens,
            left_out=packed.left_out[:LEFT_OUT_SHOWN],
            left_out_count=len(packed.left_out),
            mode_used=mode_used,
            degraded=degraded,
        )
        return Answer(200, _encode(body))

    async def _state(self, scope: Scope, wanted: ContextRequest, now_us: int) -> Piece | None:
        if wanted.session_id is None or not wanted.include_state:
            return None
        found = await self._store.state(scope, wanted.session_id, now_us=now_us)
        return None if found is None else state_piece(found.doc, wanted.session_id, wanted.bytes_per_token)

    async def _recent(self, scope: Scope, wanted: ContextRequest, now_us: int) -> list[Piece]:
        if wanted.session_id is None or not wanted.messages:
            return []
        page = await self._store.messages(
            scope, wanted.session_id, now_us=now_us, limit=wanted.messages, order="newest"
        )
        return [] if page is None else [message_piece(doc, wanted.bytes_per_token) for doc in page.docs]

    async def _pinned(self, scope: Scope, wanted: ContextRequest, within: Filter, now_us: int) -> list[Piece]:
        if not wanted.include_pinned:
            return []
        where = Every((_IS_PINNED,) if within.where is None else (within.where, _IS_PINNED))
        pinned = msgspec.structs.replace(within, where=where)
        page = await self._store.page(scope, pinned, now_us=now_us, limit=PINNED)
        docs = [doc for doc in page.docs if msgspec.json.decode(doc).get("superseded_by") is None]
        return [memory_piece(doc, "pinned", wanted.bytes_per_token) for doc in docs]
