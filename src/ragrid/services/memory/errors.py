"""Why the memory store says no. The HTTP layer gives each its status; nothing here knows HTTP."""

from collections.abc import Sequence

from ragrid.errors import ConflictError, RagridError, UnreachableError


class InvalidMemoryError(RagridError):
    """What the caller sent is not a memory; `faults` holds `(JSON pointer, what is wrong)`, all of them at once."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer or 'body'}: {detail}" for pointer, detail in faults))
        self.faults = tuple(faults)


class InvalidBodyError(RagridError):
    """What the caller sent is not what this operation takes; `faults` as in InvalidMemoryError."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer or 'body'}: {detail}" for pointer, detail in faults))
        self.faults = tuple(faults)


class NotJsonError(RagridError):
    """What the caller sent is not JSON at all."""


class NotFoundError(RagridError):
    """There is no such memory for this tenant and namespace."""


def no_memory(memory_id: str, namespace: str) -> NotFoundError:
    """Return the refusal of a memory that is not there, or that the caller may not know of."""
    return NotFoundError(f"no memory {memory_id!r} in namespace {namespace!r}")


class NoSessionError(RagridError):
    """There is no such session for this tenant and namespace."""


class NoNamespaceError(RagridError):
    """This tenant has no such namespace."""


class VersionError(ConflictError):
    """A precondition failed; `current_version` is what is stored now (None: nothing is)."""

    def __init__(self, message: str, current_version: int | None) -> None:
        super().__init__(message)
        self.current_version = current_version


class PreconditionRequiredError(RagridError):
    """The namespace takes a change only with a precondition."""


class QuotaError(RagridError):
    """The change would grow its namespace beyond a quota; `name` is the setting and `limit` its value."""

    def __init__(self, message: str, name: str, limit: int) -> None:
        super().__init__(message)
        self.name = name
        self.limit = limit


class KeyReusedError(ConflictError):
    """An idempotency key came again with another request."""


class ReplayGoneError(ConflictError):
    """An idempotency key came again, and what it made has expired or was purged since."""


class NoBackupError(RagridError):
    """The store does not make backups by itself; the message says what to do instead."""


class StoreBusyError(UnreachableError):
    """More writes are waiting than the queue may hold; nothing was written."""


class StoreFullError(RagridError):
    """The disk, or the size allowed for the store, is full; nothing was written."""


class StoreBrokenError(UnreachableError):
    """The disk failed or the store is closing; nothing was written."""
