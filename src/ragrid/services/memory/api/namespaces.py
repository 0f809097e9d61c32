"""Namespaces: what they hold, their settings and quotas, their end; and what a tenant has in all."""

from datetime import datetime

import msgspec
from starlette.requests import Request

from ragrid.identity.confinement import is_within
from ragrid.services.memory.api.answers import Answer
from ragrid.services.memory.api.confinement import namespace_within
from ragrid.services.memory.api.headers import condition_of, etag, require_media_type, valid_namespace
from ragrid.services.memory.api.operation import (
    BODY_PROBLEMS,
    JSON_TYPE,
    PAGING_PROBLEMS,
    WRITE_PROBLEMS,
    Body,
    Operation,
    Parameter,
    Success,
)
from ragrid.services.memory.api.parameters import (
    CURSOR,
    IF_MATCH,
    IF_THERE_IS_NONE,
    LIMIT,
    paging_of,
    parameters_of,
)
from ragrid.services.memory.api.parts import Parts
from ragrid.services.memory.changes import OnDuplicate, Scope
from ragrid.services.memory.cursor import encode_cursor
from ragrid.services.memory.errors import NoNamespaceError
from ragrid.services.memory.model import BODY_BYTES, NamespaceName, moment
from ragrid.services.memory.namespaces import Embedder, Namespace, NamespaceSettings, PutNamespace
from ragrid.web.auth import claims_of
from ragrid.web.body import decode_json, read_body

_NAME = Parameter(
    name="name", place="path", schema=NamespaceName, summary="The name of the namespace.", is_required=True
)
_ONE = ("invalid-namespace",)
_CHANGE = (*_ONE, *WRITE_PROBLEMS, "invalid-precondition", "version-conflict", "namespace-not-found")

_encode = msgspec.json.Encoder().encode


class NamespaceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace: its settings and what is in it; memories that have expired count until they are swept."""

    name: str
    default_ttl_seconds: int | None
    quota_rows: int | None
    quota_bytes: int | None
    on_duplicate: OnDuplicate
    require_if_match: bool
    embedder: Embedder
    #: Of the vectors that came with memories; the first one fixes both.
    brought_model: str | None
    brought_dimension: int | None
    memories: int
    bytes: int
    version: int
    created_at: datetime
    updated_at: datetime | None
    updated_by: str | None


class NamespacesPage(msgspec.Struct, frozen=True):
    """Some namespaces, newest first."""

    namespaces: tuple[NamespaceDocument, ...]
    next_cursor: str | None


class StatsDocument(msgspec.Struct, frozen=True):
    """What the tenant has in all."""

    namespaces: int
    memories: int
    bytes: int


class NamespacesApi:
    """The operations of namespaces."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    def operations(self) -> tuple[Operation, ...]:
        """Return each operation."""
        return (*self._reads(), *self._changes())

    def _reads(self) -> tuple[Operation, ...]:
        return (
            Operation(
                method="GET",
                path="/namespaces",
                id="listNamespaces",
                summary="Lists the namespaces of the tenant, newest first.",
                permission="memory:read",
                handler=self._list,
                parameters=(LIMIT, CURSOR),
                successes=(Success(status=200, summary="One page.", schema=NamespacesPage),),
                problems=PAGING_PROBLEMS,
            ),
            Operation(
                method="GET",
                path="/namespaces/{name}",
                id="readNamespace",
                summary="Returns the settings of a namespace and what is in it; the first write makes it.",
                permission="memory:read",
                handler=self._read,
                parameters=(_NAME,),
                successes=(Success(status=200, summary="The namespace.", schema=NamespaceDocument, headers=("etag",)),),
                problems=(*_ONE, "namespace-not-found"),
            ),
            Operation(
                method="GET",
                path="/stats",
                id="readStats",
                summary="Counts what the tenant has.",
                permission="memory:read",
                handler=self._stats,
                successes=(Success(status=200, summary="The counts.", schema=StatsDocument),),
            ),
        )

    def _changes(self) -> tuple[Operation, ...]:
        headers = ("etag",)
        return (
            Operation(
                method="PUT",
                path="/namespaces/{name}",
                id="putNamespace",
                summary="Makes a namespace, or replaces its settings.",
                permission="memory:admin",
                handler=self._put,
                parameters=(_NAME, IF_MATCH, IF_THERE_IS_NONE),
                body=Body(schema=NamespaceSettings),
                successes=(
                    Success(status=201, summary="Made.", schema=NamespaceDocument, headers=headers),
                    Success(status=200, summary="Replaced.", schema=NamespaceDocument, headers=headers),
                ),
                problems=(*_CHANGE, *BODY_PROBLEMS, "invalid-body"),
            ),
            Operation(
                method="DELETE",
                path="/namespaces/{name}",
                id="deleteNamespace",
                summary="Erases a namespace, all that is in it, and all history of it.",
                permission="memory:admin",
                handler=self._delete,
                parameters=(_NAME, IF_MATCH, IF_THERE_IS_NONE),
                successes=(Success(status=204, summary="Erased."),),
                problems=_CHANGE,
            ),
        )

    async def _list(self, request: Request) -> Answer:
        claims = claims_of(request)
        tenant = claims.tenant
        parameters_of(request, ("limit", "cursor"))
        walk = ("namespaces", tenant)
        limit, before = paging_of(request, walk)
        found = await self._store.namespaces(tenant, limit=limit + 1, before=before)
        cursor = encode_cursor(found[limit - 1].position, walk) if len(found) > limit else None
        seen = [one for one in found[:limit] if is_within(one.name, claims.memory_namespaces)]
        return Answer(200, _encode(NamespacesPage(tuple(_shown(one) for one in seen), cursor)))

    async def _read(self, request: Request) -> Answer:
        scope = _scope(request)
        found = await self._store.namespace(scope)
        if found is None:
            raise NoNamespaceError(f"no namespace {scope.namespace!r}")
        return _answer(200, found)

    async def _stats(self, request: Request) -> Answer:
        usage = await self._store.usage(claims_of(request).tenant)
        return Answer(200, _encode(StatsDocument(usage.namespaces, usage.rows, usage.size_bytes)))

    async def _put(self, request: Request) -> Answer:
        scope = _scope(request)
        require_media_type(request, JSON_TYPE)
        condition = condition_of(request)
        settings = decode_json(await read_body(request, BODY_BYTES), NamespaceSettings)
        put = PutNamespace(scope, claims_of(request).subject, self._parts.now_us(), settings, condition)
        done = await self._store.put_namespace(put)
        return _answer(201 if done.version == 1 else 200, done)

    async def _delete(self, request: Request) -> Answer:
        await self._store.delete_namespace(_scope(request), condition=condition_of(request))
        return Answer(204)


def _scope(request: Request) -> Scope:
    claims = claims_of(request)
    return Scope(
        claims.tenant, namespace_within(claims, valid_namespace(request.path_params["name"], "namespace name"))
    )


def _answer(status: int, namespace: Namespace) -> Answer:
    return Answer(status, _encode(_shown(namespace)), headers={"etag": etag(namespace.version)})


def _shown(one: Namespace) -> NamespaceDocument:
    brought = one.room.brought
    return NamespaceDocument(
        name=one.name,
        **msgspec.structs.asdict(one.room.settings),
        brought_model=None if brought is None else brought.model,
        brought_dimension=None if brought is None else brought.dimension,
        memories=one.room.rows,
        bytes=one.room.size_bytes,
        version=one.version,
        created_at=moment(one.created_us),
        updated_at=None if one.updated_us is None else moment(one.updated_us),
        updated_by=one.updated_by,
    )
