"""Refusals of the grid, turned into errors of ours (pure): what was said, and what to do next."""

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
    holds (JSON pointer, detail) for each member of the request that was wrong.
    """

    def __init__(self, message: str, *, status: int, code: str, errors: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, and what OAuth (RFC 6749, section 5.2) says in its place."""

    detail: str = ""
    title: str = ""
    code: str = ""
    request_id: str = ""
    errors: tuple[dict[str, Any], ...] = ()
    error: str = ""
    error_description: str = ""


def refusal(call: str, status: int, content_type: str, content: bytes) -> RagridError:
    """Return the error for an answer that is no success: AuthError, UnreachableError or RefusedError."""
    problem = _problem(content_type, content)
    said = problem.detail or problem.error_description or problem.title or problem.error or _excerpt(content)
    parts = [f"{call}: {status}: {said}", *_member_faults(problem)]
    step = _next_step(status, problem)
    message = "; ".join((*parts, step) if step else parts)
    if problem.request_id:
        message += f" (request {problem.request_id})"
    if status in (401, 403) or problem.error in ("invalid_client", "unauthorized_client", "invalid_scope"):
        return AuthError(message)
    if status in _UNAVAILABLE:
        return UnreachableError(message)
    errors = tuple((str(one.get("pointer", "")), str(one.get("detail", ""))) for one in problem.errors)
    return RefusedError(message, status=status, code=problem.code or problem.error, errors=errors)


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


def _member_faults(problem: _Problem) -> list[str]:
    """Return one piece for each wrong member of the request."""
    return [f"{one.get('pointer', '?')}: {one.get('detail', '?')}" for one in problem.errors]


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
