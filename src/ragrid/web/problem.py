"""RFC 9457 problem details: the one shape of every refusal that a service of ours sends."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - it is an answer, named as RFC 9457 names it
    """A refusal on its way to the caller: raise it anywhere inside a request.

    `code` is the stable, machine-readable name (kebab-case); `errors` holds `{"pointer": …, "detail": …}` entries with
    JSON pointers (RFC 6901) into the request body; `members` are added at the top level.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def document(self, *, request_id: str | None = None) -> dict[str, Any]:
        """Return the members of the refusal; `type` is a URN that stays the same on every grid."""
        return {
            "type": f"urn:ragrid:problem:{self.code}",
            "title": self.code.replace("-", " "),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **({"request_id": request_id} if request_id else {}),
            **({"errors": list(self.errors)} if self.errors else {}),
            **self.members,
        }

    def response(self, *, request_id: str | None = None) -> Response:
        """Return the HTTP answer."""
        body = msgspec.json.encode(self.document(request_id=request_id))
        return Response(body, self.status, self.headers, MEDIA_TYPE)
