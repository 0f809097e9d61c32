"""Runs an ASGI application: one process, one event loop, an orderly end."""

import argparse
import errno
import gc
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from ragrid.errors import RagridError
from ragrid.spec.settings import Listen, ListenTls, S, load_settings
from ragrid.system.logs import configure_logging
from ragrid.web.joined_writes import JoiningProtocol

logger = logging.getLogger(__name__)

#: Idle connections are kept this long, seconds: longer than the gateway's pool keeps them (4 s), so that it is never
#: this side that closes one on which a request is just under way.
KEEP_ALIVE_S = 75
#: Requests under way get this long after SIGTERM, seconds; with the lifespan's end the process is gone within 5 s.
GRACE_S = 4
BACKLOG = 2048
#: New objects between two looks for garbage in cycles, of which requests leave next to none; Python's 700 were 8 % of
#: the processor time of a write to memory.
GARBAGE_THRESHOLD = 10_000
#: How long a thread that wants to run Python waits for the one that does, seconds. With Python's 5 ms, the thread that
#: commits waits longer for the event loop than for the disk: 3,000 durable writes a second to memory instead of 3,400.
SWITCH_INTERVAL_S = 0.0005


def serve(application: ASGIApp, listen: Listen, *, name: str) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way.

    Raises RagridError when the address is taken, when a certificate cannot be read, or when the application's lifespan
    does not start, and an application's `failure` as soon as it has one.
    """
    listener = _bind(listen)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=JoiningProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )
    config.load()
    config.ssl = mutual_tls(listen.tls) if isinstance(listen.tls, ListenTls) else None
    server = _Server(config, application)
    logger.info("listening", extra={"address": f"{listen.host}:{listen.port}", "service": name})
    with listener:
        server.run(sockets=[listener])
    if (failure := failure_of(application)) is not None:
        raise failure
    if not server.started:
        raise RagridError(f"{name}: did not start; the log above says why")


class _Server(uvicorn.Server):
    """Tells whoever holds requests open that the end has come; what is left is cut after GRACE_S."""

    def __init__(self, config: uvicorn.Config, application: ASGIApp) -> None:
        super().__init__(config)
        self._application = application
        self._on_stop: Sequence[Callable[[], None]] = getattr(application, "on_stop", ())

    async def on_tick(self, counter: int) -> bool:
        """See uvicorn; ten times a second."""
        return await super().on_tick(counter) or failure_of(self._application) is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn. What is there once it serves stays: no look for garbage goes through it any more."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        for stop in self._on_stop:
            stop()
        await super().shutdown(sockets)


def failure_of(application: ASGIApp) -> RagridError | None:
    """Return why an application will never serve, None while it may."""
    failure: RagridError | None = getattr(application, "failure", None)
    return failure


def run_service(name: str, kind: type[S], build: Callable[[S], tuple[ASGIApp, Listen]]) -> int:
    """Be the `main` of `python -m ragrid.services.…`: read `--settings FILE`, build, serve; return the exit code."""
    parser = argparse.ArgumentParser(prog=f"ragrid-{name}")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="rendered by `ragrid up`")
    arguments = parser.parse_args()
    configure_logging(name)
    try:
        application, listen = build(load_settings(arguments.settings, kind))
        serve(application, listen, name=name)
    except RagridError as error:
        logger.critical("stopped", extra={"reason": str(error)})
        sys.stderr.flush()
        return error.exit_code
    return 0


def mutual_tls(files: ListenTls) -> ssl.SSLContext:
    """Return what a service shakes hands with: callers must show a certificate. A renewed one of its own is taken up.

    Raises RagridError when a file cannot be read.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    seen = _take_up(context, files, None)

    def look_again(_connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal seen
        try:
            seen = _take_up(context, files, seen)
        except RagridError as error:  # the certificate in hand is still good; the next connection tries again
            logger.warning("a new certificate cannot be used", extra={"reason": str(error)})

    # asked at each handshake, which is rare: the gateway keeps its connections
    context.sni_callback = look_again
    try:
        context.load_verify_locations(files.client_authority_file)
    except (OSError, ssl.SSLError) as error:
        raise RagridError(f"{files.client_authority_file}: {error}; run `ragrid up` to make it again") from error
    return context


def _take_up(context: ssl.SSLContext, files: ListenTls, seen: int | None) -> int:
    """Load the certificate when its file is another one than `seen`; return which it is."""
    try:
        changed_ns = files.certificate_file.stat().st_mtime_ns
        if changed_ns != seen:
            context.load_cert_chain(files.certificate_file, files.key_file)
    except (OSError, ssl.SSLError) as error:
        raise RagridError(f"{files.certificate_file}: {error}; run `ragrid up` to make it again") from error
    return changed_ns


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listen.host, listen.port))
    except OSError as error:
        listener.close()
        address = f"{listen.host}:{listen.port}"
        if error.errno == errno.EADDRINUSE:
            raise RagridError(f"{address}: another process listens there; `ragrid doctor` says which") from error
        raise RagridError(f"{address}: {error.strerror}; choose another address in the grid file") from error
    return listener
