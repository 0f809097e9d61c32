"""Builds the ASGI application of a service: routes inside, and around them what every service of ours does alike.

One request passes two thin layers: `Observed` (request id, errors to problem+json, metrics) and `Authenticated`.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragrid.errors import AuthError, RagridError, UnreachableError
from ragrid.web.auth import PUBLIC_PATHS, Authenticated, Verifier
from ragrid.web.body import decode_json, read_body, read_json
from ragrid.web.metrics import RequestMetrics
from ragrid.web.problem import Problem

__all__ = ["Lifespan", "Readiness", "build_application", "decode_json", "read_body", "read_json", "request_id_of"]

logger = logging.getLogger(__name__)

Readiness = Callable[[], Awaitable[Mapping[str, Any]]]
Lifespan = (
    Callable[[Starlette], AbstractAsyncContextManager[None]]
    | Callable[[Starlette], AbstractAsyncContextManager[Mapping[str, Any]]]
)

#: A readiness check that takes longer has failed, seconds. The agent itself waits for 2 s.
READINESS_TIMEOUT_S = 5.0
#: What a request is counted under when the caller went away before there was an answer (nginx writes the same).
CLIENT_GONE = 499

#: A 404 repeats this much of the path, characters.
PATH_SHOWN = 200

_STOPPING = Problem(503, "stopping", "this part is being stopped; try again", headers={"Retry-After": "1"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CODES = {404: "not-found", 405: "method-not-allowed"}


def build_application(
    routes: Sequence[BaseRoute],
    *,
    verifier: Verifier,
    readiness: Readiness,
    name: str,
    lifespan: Lifespan | None = None,
    public: Collection[str] = PUBLIC_PATHS,
    on_stop: Sequence[Callable[[], None]] = (),
) -> Starlette:
    """Return the application of the part `name`.

    `readiness` reads the real store (or raises) and returns what it saw; `public` are exact paths without a token,
    to which /healthz, /readyz and /metrics are always added. `on_stop` is called when the server begins to stop: what
    holds requests open ends them then. Routes raise Problem for refusals; a RagridError becomes
    500 or 503, anything else 500 with its traceback in the log and none in the answer.
    """
    metrics = RequestMetrics(name)
    private = [
        Route("/healthz", _healthz),
        Route("/readyz", _readyz(readiness)),
        Route("/metrics", _metrics(metrics)),
    ]
    application = _Application(routes=[*routes, *private], lifespan=lifespan)
    application.on_stop = tuple(on_stop)
    application.router.redirect_slashes = False
    application.surround(Authenticated(application.router, verifier, PUBLIC_PATHS | set(public)), metrics)
    return application


class _Application(Starlette):
    """Starlette with our two layers in the place of its own stack, so that errors become answers in one place only."""

    on_stop: Sequence[Callable[[], None]] = ()

    def surround(self, inner: ASGIApp, metrics: RequestMetrics) -> None:
        self.middleware_stack = Observed(inner, metrics)


class Observed:
    """ASGI middleware: turns every exception into problem+json and counts every request by its route template."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE
        started_s = time.perf_counter()

        async def counting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counting_send)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:
            # Only the server cancels: the time to finish after SIGTERM is over. Nothing runs after this in its task.
            if status != CLIENT_GONE:
                raise
            await _STOPPING.response(request_id=request_id_of(scope))(scope, receive, counting_send)
        except Exception as error:  # the boundary of a request: the service lives on
            if status != CLIENT_GONE:
                # Half an answer is out: the server logs this and cuts the connection, so nobody takes it for whole.
                raise
            await _answer(error, scope)(scope, receive, counting_send)
        finally:
            route = scope.get("route")
            template = getattr(route, "path", "unrouted")
            self._metrics.observe(scope["method"], template, status, time.perf_counter() - started_s)


def request_id_of(scope: Scope) -> str:
    """Return the id that the gateway gave this request in `X-Request-Id`, else one made here; the same every time."""
    state = scope.setdefault("state", {})
    known: str | None = state.get("request_id")
    if known is None:
        known = next(
            (v.decode() for n, v in scope["headers"] if n == b"x-request-id" and _REQUEST_ID.fullmatch(v)), None
        )
        known = state["request_id"] = known or secrets.token_hex(16)
    return known


def _answer(error: Exception, scope: Scope) -> Response:
    """Return the answer for what a route raised; logs it when somebody has to look at it."""
    request_id = request_id_of(scope)
    problem = _problem_of(error, scope)
    if problem is None:
        fields = {"request_id": request_id, "method": scope["method"], "path": scope["path"]}
        logger.error("request failed", exc_info=error, extra=fields)
        problem = Problem(500, "internal-error", f"unexpected fault; look for {request_id} in the log of this part")
    return problem.response(request_id=request_id)


def _problem_of(error: Exception, scope: Scope) -> Problem | None:
    """Return the refusal that `error` stands for, or None when it is a fault of ours."""
    match error:
        case Problem():
            return error
        case HTTPException():
            code = _CODES.get(error.status_code, "refused")
            detail = (
                f"{scope['method']} {scope['path'][:PATH_SHOWN]}: {error.detail.lower()}; see the API documentation"
            )
            return Problem(error.status_code, code, detail, headers=error.headers)
        case AuthError():
            return Problem(403, "forbidden", str(error))
        case UnreachableError():
            logger.warning("a needed part does not answer", extra={"reason": str(error)})
            return Problem(503, "unavailable", str(error), headers={"Retry-After": "1"})
        case RagridError():
            logger.error("request failed", extra={"reason": str(error), "request_id": request_id_of(scope)})
            return Problem(500, "failed", str(error))
    return None


async def _healthz(_request: Request) -> Response:
    return Response(b'{"status":"alive"}', media_type="application/json")


def _readyz(readiness: Readiness) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        try:
            async with asyncio.timeout(READINESS_TIMEOUT_S):
                seen = await readiness()
        except Exception as error:  # whatever is wrong, the answer is "not ready", and the check goes on
            logger.warning("not ready", extra={"reason": str(error)}, exc_info=not isinstance(error, RagridError))
            detail = str(error) if isinstance(error, RagridError) else type(error).__name__
            raise Problem(503, "not-ready", detail, headers={"Retry-After": "1"}) from error
        return Response(msgspec.json.encode({"status": "ready", **seen}), media_type="application/json")

    return endpoint


def _metrics(requests: RequestMetrics) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        # Counters that a service declares itself lie in the registry of the process; ours belong to the application.
        return Response(generate_latest() + generate_latest(requests.registry), media_type=CONTENT_TYPE_LATEST)

    return endpoint
