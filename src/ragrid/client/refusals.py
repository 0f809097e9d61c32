"""Refusals of the grid, turned into errors of ours (pure): what was said, and what to do next."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ragrid.errors import AuthError, RagridError, UnreachableError

#: Of a body that is not ours, a message shows this much.
SHOWN_CHARACTERS = 200

_NEXT_STEPS = {
    401: "get a new token: `ragrid token issue`",
    403: "use a token whose role allows it: `ragrid token issue --role ROLE`",
    404: "check the name, and that the address is the gateway's",
    408: "try again",
    413: "send less at once",
    429: "wait, then try again",
}
_UNAVAILABLE = frozenset({502, 503, 504})


class RefusedError(RagridError):
    """The grid understood a request and refused it.

    `status` is the HTTP status, `code` the stable name of the problem ("" when the answer had none), and `errors`
    holds (JSON pointer, detail) for each member of the request that was wrong. `members` is the whole problem as it
    came, with what its kind adds. `retry_after_s` is how long to leave the grid alone, None when it said nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        errors: tuple[tuple[str, str], ...] = (),
        members: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors
        self.members = members or {}
        self.retry_after_s = retry_after_s


class NotFoundError(RefusedError):
    """There is no such thing for this caller (404)."""


class NotModifiedError(RefusedError):
    """What was asked for is still what the caller has (304)."""


class VersionConflictError(RefusedError):
    """A precondition failed (412); `current_version` is what is stored now, None when nothing is.

    When an earlier attempt of the same call got no answer (`__notes__` says so), that attempt may be what changed it.
    """

    exit_code = 4  # a lost compare-and-set

    @property
    def current_version(self) -> int | None:
        """The version that is stored now."""
        found = self.members.get("current_version")
        return found if isinstance(found, int) else None


class UnavailableError(UnreachableError):
    """The grid, or the part that was meant, cannot serve now (502, 503, 504)."""

    def __init__(self, message: str, *, status: int, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class NoAnswerError(UnreachableError):
    """No answer came; unless `was_sent` is false, the grid may have done what was asked all the same."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


_KINDS: Mapping[int, type[RefusedError]] = {404: NotFoundError, 412: VersionConflictError, 304: NotModifiedError}


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, and what OAuth (RFC 6749, section 5.2) says in its place."""

    detail: str = ""
    title: str = ""
    code: str = ""
    request_id: str = ""
    errors: tuple[dict[str, Any], ...] = ()
    error: str = ""
    error_description: str = ""


def refusal(
    call: str, status: int, content_type: str, content: bytes, *, retry_after_s: float | None = None
) -> RagridError:
    """Return the error for an answer that is no success: AuthError, UnavailableError, or a kind of RefusedError."""
    problem = _problem(content_type, content)
    said = problem.detail or problem.error_description or problem.title or problem.error or _excerpt(content)
    parts = [f"{call}: {status}: {said}", *_member_faults(problem, said)]
    step = _next_step(status, problem)
    message = "; ".join((*parts, step) if step else parts)
    if problem.request_id:
        message += f" (request {problem.request_id})"
    if status in (401, 403) or problem.error in ("invalid_client", "unauthorized_client", "invalid_scope"):
        return AuthError(message)
    if status in _UNAVAILABLE:
        return UnavailableError(message, status=status, code=problem.code, retry_after_s=retry_after_s)
    return _KINDS.get(status, RefusedError)(
        message,
        status=status,
        code=problem.code or problem.error,
        errors=tuple((str(one.get("pointer", "")), str(one.get("detail", ""))) for one in problem.errors),
        members=_members(content_type, content),
        retry_after_s=retry_after_s,
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long an answer asks to be left alone (RFC 9110, section 10.2.3); None when it does not say.

    A time of day is held against the answer's own `Date`, so that the caller's clock does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        later, sent = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (later - sent).total_seconds())
    except (ValueError, TypeError):
        return None


def redirected(call: str, status: int, location: str) -> RagridError:
    """Return the error for a redirect: a token is never sent on to another address."""
    return RefusedError(
        f"{call}: {status}: the address redirects to {location!r}; use that as the grid's address",
        status=status,
        code="redirected",
    )


def _problem(content_type: str, content: bytes) -> _Problem:
    """Return what the body says; nothing when it is not JSON of a known shape."""
    if "json" not in content_type:
        return _Problem()
    try:
        return msgspec.json.decode(content, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem()


def _members(content_type: str, content: bytes) -> Mapping[str, Any]:
    """Return every member of a problem, as it came."""
    try:
        found = msgspec.json.decode(content) if "json" in content_type else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _member_faults(problem: _Problem, said: str) -> list[str]:
    """Return one piece for each wrong member of the request that was not `said` already."""
    faults = [(str(one.get("pointer", "?")), str(one.get("detail", "?"))) for one in problem.errors]
    return [f"{pointer}: {detail}" for pointer, detail in faults if detail not in said]


def _next_step(status: int, problem: _Problem) -> str:
    """Return what to do, unless the grid has said so itself."""
    if problem.error == "invalid_client":
        return "check client id and secret"
    if status in _UNAVAILABLE:
        return "see `ragrid status`, then try again"
    return _NEXT_STEPS.get(status, "")


def _excerpt(content: bytes) -> str:
    """Return the beginning of a foreign body, on one line."""
    text = " ".join(content[: 4 * SHOWN_CHARACTERS].decode(errors="replace").split())
    return repr(text[:SHOWN_CHARACTERS]) if text else "no reason given"
