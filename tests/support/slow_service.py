"""A service whose answers take as long as they are asked to: `python -m support.slow_service PORT`."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.spec.settings import Listen
from ragrid.system.logs import configure_logging
from ragrid.web.application import build_application
from ragrid.web.server import serve
from support.token_mint import TokenMint

ARRIVED: list[str] = []


async def slow(request: Request) -> Response:
    ARRIVED.append(request.url.query)
    await asyncio.sleep(float(request.query_params["seconds"]))
    return Response(b"done")


async def arrived(_request: Request) -> Response:
    return Response(str(len(ARRIVED)))


async def ready() -> Mapping[str, Any]:
    return {}


def main() -> None:
    configure_logging("slow")
    verifier = TokenMint().verifier()
    routes = [Route("/slow", slow), Route("/arrived", arrived)]
    application = build_application(
        routes, verifier=verifier, readiness=ready, name="slow", public={"/slow", "/arrived"}
    )
    serve(application, Listen(port=int(sys.argv[1])), name="slow")


if __name__ == "__main__":
    main()
