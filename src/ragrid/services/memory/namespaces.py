"""What a namespace says about the memories in it: defaults, quotas, and how careful writers must be."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ragrid.services.memory.changes import OnDuplicate
from ragrid.services.memory.model import TTL_S

Amount = Annotated[int, Meta(ge=1, le=2**53)]


class NamespaceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the keeper of a namespace may set; without quotas only the store bounds it."""

    #: For memories that name no end of their own; pinned ones last as ever.
    default_ttl_seconds: Annotated[int, Meta(ge=1, le=TTL_S)] | None = None
    quota_rows: Amount | None = None
    quota_bytes: Amount | None = None
    on_duplicate: OnDuplicate = "keep"
    #: Changes of a memory must say which version they mean.
    require_if_match: bool = False


class Room(msgspec.Struct, frozen=True):
    """The settings of a namespace and what is in it: live memories, swept or not, and the bytes of their documents."""

    settings: NamespaceSettings
    rows: int
    size_bytes: int


DEFAULTS = NamespaceSettings()
#: A namespace that nothing was written to.
EMPTY = Room(DEFAULTS, 0, 0)
