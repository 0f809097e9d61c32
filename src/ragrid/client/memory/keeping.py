"""Namespaces, jobs and statistics: what is sent and what comes back (pure)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict
from urllib.parse import quote

import msgspec

from ragrid.client.calls import Call
from ragrid.client.memory.calls import JSON, PREFIX, if_match, paging

OnDuplicate = Literal["keep", "return", "supersede"]


class NamespaceSettings(TypedDict, total=False):
    """What may be set for a namespace; what is left out has the service's default."""

    default_ttl_seconds: int | None
    quota_rows: int | None
    quota_bytes: int | None
    on_duplicate: OnDuplicate
    require_if_match: bool


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
    updated_at: datetime | None = None
    updated_by: str | None = None


class NamespacesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some namespaces, newest first."""

    namespaces: tuple[Namespace, ...]
    next_cursor: str | None = None


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


def page(limit: int, cursor: str | None) -> Call[NamespacesPage]:
    """Ask for one page of namespaces."""
    return Call(
        method="GET",
        path=f"{PREFIX}/namespaces",
        answer=NamespacesPage,
        parameters=paging(limit, cursor),
        repeat="always",
    )


def get(name: str) -> Call[Namespace]:
    """Ask for one namespace."""
    return Call(method="GET", path=_one(name), answer=Namespace, repeat="always")


def put(name: str, settings: Mapping[str, Any], *, if_version: int | None) -> Call[Namespace]:
    """Make a namespace, or replace its settings whole."""
    headers = if_match(if_version)
    return Call(
        method="PUT",
        path=_one(name),
        answer=Namespace,
        content=msgspec.json.encode(settings),
        headers={"content-type": JSON, **headers},
        repeat="always" if headers else "unsent",
    )


def delete(name: str, *, if_version: int | None) -> Call[None]:
    """Erase a namespace with all that is in it."""
    headers = if_match(if_version)
    return Call(
        method="DELETE",
        path=_one(name),
        answer=type(None),
        headers=headers,
        repeat="always" if headers else "unsent",
    )


def stats() -> Call[Stats]:
    """Ask what the tenant has."""
    return Call(method="GET", path=f"{PREFIX}/stats", answer=Stats, repeat="always")


def job(job_id: str) -> Call[Job]:
    """Ask how far a job is."""
    return Call(method="GET", path=f"{PREFIX}/jobs/{quote(job_id, safe='')}", answer=Job, repeat="always")


def reembed() -> Call[Job]:
    """Start making the vectors of another model beside those in use."""
    return Call(method="POST", path=f"{PREFIX}/admin/reembed", answer=Job, repeat="unsent")


def _one(name: str) -> str:
    return f"{PREFIX}/namespaces/{quote(name, safe='')}"
