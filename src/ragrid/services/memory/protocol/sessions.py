"""Sessions: messages that are only ever added, and one working state each."""

from typing import Literal, Protocol

import msgspec

from ragrid.services.memory.changes import Scope
from ragrid.services.memory.messages import Append, Appended, MessagePage
from ragrid.services.memory.working_state import PutState, ReadState


class SessionSummary(msgspec.Struct, frozen=True):
    """What there is of a session; `state_version` is None when no state may be seen now."""

    id: str
    last_index: int
    state_version: int | None


Order = Literal["newest", "oldest"]


class Sessions(Protocol):
    """A session begins with its first message or state, and ends when it is deleted.

    Its indexes and versions go on where they were when it begins again, so no index or ETag ever comes back with other
    content.
    """

    async def append(self, append: Append) -> Appended:
        """Add messages, all or none, and begin the life of a state with a time to live anew; durable on return.

        Raises VersionError, KeyReusedError, ReplayGoneError, StoreBusyError or StoreFullError.
        """
        ...

    async def messages(
        self, scope: Scope, session_id: str, *, now_us: int, limit: int, order: Order, beyond: int | None = None
    ) -> MessagePage | None:
        """Return up to `limit` messages behind index `beyond` in `order`; None when there is no such session."""
        ...

    async def put_state(self, put: PutState) -> ReadState:
        """Replace the working state, durable on return. Raises VersionError, StoreBusyError or StoreFullError."""
        ...

    async def state(self, scope: Scope, session_id: str, *, now_us: int) -> ReadState | None:
        """Return the working state, or None when there is none that may be seen now."""
        ...

    async def sessions(
        self, scope: Scope, *, now_us: int, limit: int, after: str | None = None
    ) -> tuple[SessionSummary, ...]:
        """Return up to `limit` sessions with an id behind `after`, by id (in the order of its bytes)."""
        ...

    async def delete_session(self, scope: Scope, session_id: str) -> None:
        """Erase the messages and the state of a session, durable on return. Raises NoSessionError."""
        ...

    async def sweep_sessions(self, *, now_us: int, limit: int) -> int:
        """Erase up to `limit` expired messages, and as many states and idempotency keys; return how many messages."""
        ...
