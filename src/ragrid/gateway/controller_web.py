"""What the controller answers on its private port: alive, ready, figures."""

from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragrid.gateway.state import GatewayState
from ragrid.web.problem import Problem

#: Ready means that nginx took the state this recently, seconds; it is sent every 2 s.
READY_WITHIN_S = 10.0


class ControllerMetrics:
    """`gateway_controller_*`, in a registry of its own so that two controllers fit into one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reachable = Gauge(
            "gateway_controller_reachable",
            "1 while what the controller needs works: registry, keys, policy, nginx, and each file that it keeps.",
            ["what"],
            registry=self.registry,
        )
        self._version = Gauge(
            "gateway_controller_state_version", "Version of the state that nginx has.", registry=self.registry
        )
        self._pushes = Counter(
            "gateway_controller_pushes_total", "States that nginx took, resent ones included.", registry=self.registry
        )
        for what in ("registry", "keys", "policy", "nginx"):
            self._reachable.labels(what).set(0)

    def reachable(self, what: str, *, is_reachable: bool) -> None:
        """Note whether `what` worked the last time."""
        self._reachable.labels(what).set(int(is_reachable))

    def accepted(self, version: int) -> None:
        """Note that nginx took a state."""
        self._version.set(version)
        self._pushes.inc()


class _Controller(Protocol):
    metrics: ControllerMetrics
    last: GatewayState | None

    def accepted_ago_s(self) -> float | None: ...


def controller_routes() -> list[Route]:
    """Return the routes; they find the controller in `application.state`."""
    return [Route("/healthz", _healthz), Route("/readyz", _readyz), Route("/metrics", _metrics)]


def _controller(request: Request) -> _Controller:
    controller: _Controller = request.app.state.controller
    return controller


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(request: Request) -> Response:
    controller = _controller(request)
    ago_s = controller.accepted_ago_s()
    if ago_s is None or ago_s > READY_WITHIN_S or controller.last is None:
        detail = "nginx has not taken a state yet" if ago_s is None else f"nginx took the state {ago_s:.0f} s ago"
        return Problem(503, "not-ready", f"{detail}; wanted within {READY_WITHIN_S:.0f} s").response()
    return JSONResponse({"status": "ready", "state_version": controller.last.version, "accepted_ago_s": ago_s})


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(_controller(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
