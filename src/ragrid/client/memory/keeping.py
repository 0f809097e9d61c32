"""Namespaces, jobs and statistics: what is sent and what comes back (pure)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import msgspec

from ragrid.client.calls import Call
from ragrid.client.memory.calls import PREFIX, ask, change, if_match, paging

OnDuplicate = Literal["keep", "return", "supersede"]
#: Where the vectors of a namespace come from: the grid's embedder, its callers, or nowhere.
Embedder = Literal["grid", "given", "none"]


class NamespaceSettings(TypedDict, total=False):
    """What may be set for a namespace; what is left out has the service's default."""

    default_ttl_seconds: int | None
    quota_rows: int | None
    quota_bytes: int | None
    on_duplicate: OnDuplicate
    require_if_match: bool
    embedder: Embedder


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace: its settings, and what is in it."""

    name: str
    memories: int
    bytes: int
    version: int
    created_at: datetime
    default_ttl_seconds: int | None = None
    quota_rows: int | None = None
    quota_bytes: int | None = None
    on_duplicate: str = "keep"
    require_if_match: bool = False
    embedder: str = "grid"
    brought_model: str | None = None
    brought_dimension: int | None = None
    updated_at: datetime | None = None
    updated_by: str | None = None


class NamespacesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some namespaces, newest first."""

    items: tuple[Namespace, ...] = msgspec.field(name="namespaces")
    after: str | None = msgspec.field(name="next_cursor", default=None)


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What the tenant has in all."""

    namespaces: int
    memories: int
    bytes: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Work that takes longer than a request."""

    id: str
    kind: str
    state: Literal["running", "done", "failed"]
    created_at: datetime
    created_by: str
    updated_at: datetime
    done: int = 0
    total: int | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    ended_at: datetime | None = None


def page(cursor: str | None) -> Call[NamespacesPage]:
    """Ask for one page of namespaces."""
    return ask(f"{PREFIX}/namespaces", NamespacesPage, None, parameters=paging(cursor))


def get(name: str) -> Call[Namespace]:
    """Ask for one namespace."""
    return ask(_one(name), Namespace, None)


def put(name: str, settings: Mapping[str, Any], *, if_version: int | None) -> Call[Namespace]:
    """Make a namespace, or replace its settings whole."""
    return change("PUT", _one(name), Namespace, None, content=settings, headers=if_match(if_version))


def delete(name: str, *, if_version: int | None) -> Call[None]:
    """Erase a namespace with all that is in it."""
    return change("DELETE", _one(name), type(None), None, headers=if_match(if_version))


def stats() -> Call[Stats]:
    """Ask what the tenant has."""
    return ask(f"{PREFIX}/stats", Stats, None)


def job(job_id: str) -> Call[Job]:
    """Ask how far a job is."""
    return ask(f"{PREFIX}/jobs/{quote(job_id, safe='')}", Job, None)


def reembed() -> Call[Job]:
    """Start making the vectors of another model beside those in use."""
    return change("POST", f"{PREFIX}/admin/reembed", Job, None)


def backup() -> Call[Job]:
    """Start a backup of the whole store."""
    return change("POST", f"{PREFIX}/admin/backup", Job, None)


def _one(name: str) -> str:
    return f"{PREFIX}/namespaces/{quote(name, safe='')}"
