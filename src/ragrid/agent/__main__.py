"""`python -m ragrid.agent --settings FILE`: the agent of one host, until SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from ragrid.agent.agent import Agent
from ragrid.agent.identity import held_identity
from ragrid.agent.pages import build_pages
from ragrid.errors import RagridError
from ragrid.registry.open import open_registry
from ragrid.spec.settings import AgentSettings, Listen, load_settings
from ragrid.system.clock import SystemClock
from ragrid.system.logs import configure_logging

logger = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="ragrid-agent")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="rendered by `ragrid up`")
    arguments = parser.parse_args()
    configure_logging("agent")
    try:
        settings = load_settings(arguments.settings, AgentSettings)
        with (
            listening(settings.listen) as listener,
            held_identity(settings.status_file, settings.host_name) as identity,
        ):
            asyncio.run(serve_agent(settings, listener, identity))
    except RagridError as error:
        logger.critical("stopped", extra={"reason": str(error)})
        return error.exit_code
    return 0


async def serve_agent(settings: AgentSettings, listener: socket.socket, identity: str) -> None:
    """Run the agent and its HTTP side on `listener` until a signal says stop."""
    clock = SystemClock()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    registry = open_registry(settings.registry, clock=clock)
    agent = Agent(settings, registry, identity=identity, clock=clock)
    config = uvicorn.Config(
        build_pages(agent), log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    pages = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await agent.run(stop)
    finally:
        server.should_exit = True
        await pages
        await registry.close()


@contextlib.contextmanager
def listening(listen: Listen) -> Iterator[socket.socket]:
    """Hold the agent's port; raises RagridError when another process does."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        listener = socket.create_server((listen.host, listen.port), family=family)
    except OSError as error:
        where = f"{listen.host}:{listen.port}"
        raise RagridError(f"{where}: {error.strerror}; `ragrid doctor` says who holds the port") from error
    with listener:
        yield listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the agent's own come first, so that it can say farewell."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


if __name__ == "__main__":
    sys.exit(main())
