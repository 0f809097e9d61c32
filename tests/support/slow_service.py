"""A service whose answers take as long as they are asked to: `python -m support.slow_service PORT [CRT KEY CA]`."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragrid.spec.settings import Listen, ListenTls
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
    port, *files = sys.argv[1:]
    names = ("certificate_file", "key_file", "client_authority_file")
    tls = ListenTls(**dict(zip(names, map(Path, files), strict=True))) if files else msgspec.UNSET
    serve(application, Listen(port=int(port), tls=tls), name="slow")


if __name__ == "__main__":
    main()
