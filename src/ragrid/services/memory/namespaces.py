"""What a namespace says about the memories in it: defaults, quotas, vectors, and how careful writers must be."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ragrid.services.memory.changes import ANY, Condition, OnDuplicate, Scope
from ragrid.services.memory.errors import VersionError
from ragrid.services.memory.model import TTL_S

Amount = Annotated[int, Meta(ge=1, le=2**53)]
#: Where the vectors of a namespace come from: `grid`, from the grid's embedder, or from callers where it has none;
#: `given`, from callers alone; `none`, from nowhere: no text and no question of it reaches an embedder.
Embedder = Literal["grid", "given", "none"]


class NamespaceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the keeper of a namespace may set; without quotas only the store bounds it."""

    #: For memories that name no end of their own; pinned ones last as ever.
    default_ttl_seconds: Annotated[int, Meta(ge=1, le=TTL_S)] | None = None
    quota_rows: Amount | None = None
    quota_bytes: Amount | None = None
    on_duplicate: OnDuplicate = "keep"
    #: Changes of a memory must say which version they mean.
    require_if_match: bool = False
    embedder: Embedder = "grid"


class Brought(msgspec.Struct, frozen=True):
    """The model whose vectors the callers of one namespace bring: that of the first one, and its dimension."""

    model: str
    dimension: int


class Room(msgspec.Struct, frozen=True):
    """The settings of a namespace and what is in it: live memories, swept or not, and the bytes of their documents."""

    settings: NamespaceSettings
    rows: int
    size_bytes: int
    brought: Brought | None = None


DEFAULTS = NamespaceSettings()
#: A namespace that nothing was written to.
EMPTY = Room(DEFAULTS, 0, 0)


class Namespace(msgspec.Struct, frozen=True):
    """A namespace as it stands; `position` is its place among those of its tenant, in the order of their making."""

    name: str
    position: int
    room: Room
    version: int
    created_us: int
    updated_us: int | None = None
    updated_by: str | None = None


class PutNamespace(msgspec.Struct, frozen=True):
    """Make a namespace, or replace the settings of one."""

    scope: Scope
    actor: str
    at_us: int
    settings: NamespaceSettings
    condition: Condition = ANY


def check_version(current: Namespace | None, condition: Condition) -> None:
    """Raise VersionError unless `condition` holds of the settings of a namespace."""
    version = None if current is None else current.version
    if condition.must_be_absent and version is not None:
        raise VersionError(f"the namespace exists (version {version}), wanted none", version)
    if condition.must_exist and version is None:
        raise VersionError("there is no such namespace, wanted any version", None)
    if condition.versions is not None and version not in condition.versions:
        wanted = " or ".join(str(one) for one in sorted(condition.versions)) or "no version at all"
        found = "there is no such namespace" if version is None else f"the namespace is at version {version}"
        raise VersionError(f"{found}, wanted {wanted}; read it again", version)
