"""The agent's own small HTTP side: health, readiness, metrics, and metrics for parts that have none. No secrets."""

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ragrid.agent.agent import Agent
from ragrid.agent.exporter import PartPage
from ragrid.agent.processes import Usage
from ragrid.agent.state import Health
from ragrid.web.problem import Problem


def build_pages(agent: Agent) -> Starlette:
    """Return the application; it reads what `agent` knows and changes nothing."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        """Ready once every instance was looked at; a dead registry is told, and is no reason to be taken out."""
        waiting = [one.watched.instance_id for one in agent.watchers if one.state.checked_s is None]
        body = {"ready": not waiting, "waiting_for": waiting, "registry_up": agent.registry_health.is_up}
        return JSONResponse(body, 503 if waiting else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(agent.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    reading = asyncio.Lock()  # the reader is for one thread at a time

    async def part_metrics(request: Request) -> Response:
        part = str(request.path_params["part"])
        if all(one.watched.service != part for one in agent.watchers):
            known = ", ".join(sorted({one.watched.service for one in agent.watchers}))
            return Problem(404, "not-found", f"no part {part!r} is watched here; known are {known}").response()
        async with reading:
            usages = await asyncio.to_thread(_usages, agent, part)
        return Response(_page(agent, part, usages), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/metrics/{part}", part_metrics),
        ]
    )


def _usages(agent: Agent, part: str) -> dict[str, Usage]:
    watched = [one.watched for one in agent.watchers if one.watched.service == part]
    found = {one.instance_id: agent.processes.read(one.host, one.port) for one in watched}
    return {instance: usage for instance, usage in found.items() if usage is not None}


def _page(agent: Agent, part: str, usages: dict[str, Usage]) -> bytes:
    states = [one.state for one in agent.watchers if one.watched.service == part]
    page = PartPage(
        part,
        healthy=[state.health == Health.HEALTHY for state in states],
        usages=usages,
        checks=list(agent.metrics.checks.collect()),
    )
    return page.render()
