"""Carries out an operation inside this process, for a caller whose token was verified already."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message

from ragrid.identity.claims import Claims
from ragrid.services.memory.api.operation import Operation, perform
from ragrid.services.memory.tools.arguments import InnerRequest
from ragrid.web.problem import Problem


@dataclass(frozen=True, slots=True)
class Outcome:
    """The status and the body that the operation answered with."""

    status: int
    body: bytes


async def outcome_of(operation: Operation, wanted: InnerRequest, claims: Claims, request_id: str) -> Outcome:
    """Return what the operation answers; a refusal is an answer, too."""
    request = _request(operation, wanted, claims)
    try:
        answer: ASGIApp = await perform(operation, request)
    except Problem as problem:
        answer = problem.response(request_id=request_id)
    return await _collected(answer, request)


def _request(operation: Operation, wanted: InnerRequest, claims: Claims) -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "method": operation.method,
        "path": operation.path,
        "query_string": wanted.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in wanted.headers.items()],
        "path_params": dict(wanted.path),
        "state": {"claims": claims},
    }

    has_body = True

    async def receive() -> Message:
        nonlocal has_body
        if not has_body:
            await asyncio.Event().wait()  # nobody leaves: who waits for that waits until the answer is there
        has_body = False
        return {"type": "http.request", "body": wanted.body, "more_body": False}

    return Request(scope, receive)


async def _collected(answer: ASGIApp, request: Request) -> Outcome:
    status = 0
    parts: list[bytes] = []

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await answer(request.scope, request.receive, send)
    return Outcome(status, b"".join(parts))
