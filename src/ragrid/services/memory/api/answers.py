"""From what the store says to HTTP: answers, and a Problem for each refusal."""

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from ragrid.errors import RagridError
from ragrid.services.memory.errors import (
    InvalidBodyError,
    InvalidMemoryError,
    KeyReusedError,
    NoBackupError,
    NoNamespaceError,
    NoSessionError,
    NotFoundError,
    NotJsonError,
    PreconditionRequiredError,
    QuotaError,
    ReplayGoneError,
    StoreBrokenError,
    StoreBusyError,
    StoreFullError,
    VersionError,
)
from ragrid.web.problem import Problem

JSON = b"application/json"
#: When it is worth trying again, seconds: a queue drains by itself, room is made by somebody.
RETRY_AFTER_S: Mapping[int, str] = {503: "1", 507: "30"}
#: What each error of the store is to a caller: a status and the problem's code.
STATUS_OF_ERROR: Mapping[type[RagridError], tuple[int, str]] = {
    NotJsonError: (400, "invalid-json"),
    InvalidMemoryError: (422, "invalid-memory"),
    InvalidBodyError: (422, "invalid-body"),
    NoSessionError: (404, "session-not-found"),
    NoNamespaceError: (404, "namespace-not-found"),
    NotFoundError: (404, "memory-not-found"),
    VersionError: (412, "version-conflict"),
    PreconditionRequiredError: (428, "precondition-required"),
    QuotaError: (507, "quota-exceeded"),
    KeyReusedError: (422, "idempotency-key-reused"),
    ReplayGoneError: (409, "idempotent-result-gone"),
    NoBackupError: (409, "backup-elsewhere"),
    StoreBusyError: (503, "overloaded"),
    StoreFullError: (507, "store-full"),
    StoreBrokenError: (503, "store-unavailable"),
}


class Answer:
    """A whole answer whose body was rendered before: two messages, and nothing computed on the way."""

    def __init__(self, status: int, body: bytes = b"", *, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status
        raw = [(b"content-length", b"%d" % len(body))] if status != 304 else []
        if body:
            raw.append((b"content-type", JSON))
        if headers:
            raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._start = {"type": "http.response.start", "status": status, "headers": raw}
        self._body = {"type": "http.response.body", "body": body}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send(self._start)
        await send(self._body)


def problem_of(error: RagridError) -> Problem:
    """Return the refusal that a store error stands for; `error` is one of services/memory/errors.py."""
    status, code = STATUS_OF_ERROR[type(error)]
    if isinstance(error, InvalidMemoryError):
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.faults]
        return Problem(status, code, "the body is not a memory; `errors` says why", errors=errors)
    if isinstance(error, InvalidBodyError):
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.faults]
        return Problem(status, code, str(error), errors=errors)
    if isinstance(error, VersionError):
        return Problem(status, code, str(error), members={"current_version": error.current_version})
    if isinstance(error, QuotaError):
        return Problem(
            status,
            code,
            str(error),
            members={"quota": error.name, "limit": error.limit},
            headers={"Retry-After": RETRY_AFTER_S[status]},
        )
    headers = {"Retry-After": RETRY_AFTER_S[status]} if status in RETRY_AFTER_S else None
    return Problem(status, code, str(error), headers=headers)


def is_refusal(error: RagridError) -> bool:
    """Tell whether `problem_of` knows this error."""
    return type(error) in STATUS_OF_ERROR
