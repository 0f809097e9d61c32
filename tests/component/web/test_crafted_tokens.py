"""Every crafted token and every flipped bit at each service of ours, as somebody on its private port would send it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from starlette.types import ASGIApp, Message

from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.services.memory.service import build as build_memory
from ragrid.services.rag.app import build as build_rag
from ragrid.services.tokens.application import build as build_tokens
from ragrid.services.tokens.store import open_store
from ragrid.spec.settings import (
    EmbedderSettings,
    GeneratorSettings,
    Listen,
    MemorySettings,
    RagSettings,
    TokensSettings,
    TokenTrust,
)
from ragrid.system.clock import ManualClock
from support.crafted_tokens import crafted_tokens, flipped_tokens, good_tokens
from support.token_mint import ISSUER, TokenMint

Opened = tuple[ASGIApp, TokenMint, str]

#: A store is open within milliseconds; a machine that is busy gets more.
OPEN_TRIES = 3000


def trust_in(mint: TokenMint, folder: Path, audience: str) -> TokenTrust:
    (folder / "jwks.json").write_bytes(mint.jwks)
    return TokenTrust(issuer=ISSUER, audience=audience, jwks_file=folder / "jwks.json")


def memory(folder: Path, clock: ManualClock) -> Opened:
    mint = TokenMint(clock=clock, audience=("memory",))
    trust = trust_in(mint, folder, "memory")
    settings = MemorySettings(listen=Listen(port=0), trust=trust, data_directory=folder / "data")
    return build_memory(settings, clock=clock)[0], mint, "/memory/v1/memories"


def rag(folder: Path, clock: ManualClock) -> Opened:
    mint = TokenMint(clock=clock, audience=("rag", "chromadb"))
    settings = RagSettings(
        listen=Listen(port=0),
        trust=trust_in(mint, folder, "rag"),
        data_directory=folder / "data",
        gateway_url="http://127.0.0.1:1",
        gateway_ca_file=None,
        embedder=EmbedderSettings(kind="hashing"),
        generator=GeneratorSettings(kind="extractive"),
    )
    return build_rag(settings, clock), mint, "/rag/v1/documents"


def tokens(folder: Path, clock: ManualClock) -> Opened:
    settings = TokensSettings(
        listen=Listen(port=0),
        issuer=ISSUER,
        audiences=("memory",),
        data_directory=folder / "data",
        roles=dict(BUILTIN_ROLES),
        clients=(),
    )
    application = build_tokens(settings, clock=clock)[0]
    store = open_store(settings.data_directory)
    stored = {key.record.state: key.pair for key in store.keys()}  # noqa: SIM118 - no dictionary
    store.close()
    key = ECKey.import_key(json.loads(stored["current"].private_jwk or ""))
    return application, TokenMint(clock=clock, audience=("tokens",), given=key), "/tokens/v1/clients"


@pytest.fixture(params=[memory, rag, tokens], ids=lambda open_service: str(open_service.__name__))
async def service(request: Any, tmp_path: Path) -> AsyncIterator[Opened]:
    open_service: Callable[[Path, ManualClock], Opened] = request.param
    application, mint, path = open_service(tmp_path, ManualClock())
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(living(application))
        yield application, mint, path


@contextlib.asynccontextmanager
async def living(application: ASGIApp) -> AsyncIterator[None]:
    """Start it as a server does, go on once it is ready, and end it."""
    words: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(_live(application, words, said))
    await words.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    try:
        for _ in range(OPEN_TRIES):
            if (await answer_to(application, "/readyz", ""))[0] != 503:
                break
            await asyncio.sleep(0.01)
        yield
    finally:
        await words.put({"type": "lifespan.shutdown"})
        await life


async def _live(application: ASGIApp, words: "asyncio.Queue[Message]", said: "asyncio.Queue[Message]") -> None:
    await application({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, words.get, said.put)


async def answer_to(application: ASGIApp, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request with `token`, which no server in between has looked at."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    headers = [(b"host", b"service"), (b"authorization", b"Bearer " + token.encode(errors="surrogatepass"))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "GET",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    await application(scope, receive, send)
    fields = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], fields, b"".join(message.get("body", b"") for message in messages)


async def test_every_crafted_token_is_refused(service: Opened) -> None:
    application, mint, path = service
    crafted = crafted_tokens(mint)
    assert len(crafted) >= 80
    for name, token in crafted.items():
        status, fields, body = await answer_to(application, path, token)
        assert status == 401, f"{name}: {status}"
        assert fields["content-type"] == "application/problem+json", name
        assert 'error="invalid_token"' in fields["www-authenticate"], name
        assert json.loads(body)["code"] == "invalid-token", name
        assert len(token) < 100 or token.encode() not in body, name


async def test_an_unusual_token_is_taken(service: Opened) -> None:
    """Or the refusals would show nothing: such a token is told what it lacks, or served."""
    application, mint, path = service
    for name, token in good_tokens(mint).items():
        status, _, body = await answer_to(application, path, token)
        assert status in (200, 403), f"{name}: {status} {body!r}"


async def test_every_flipped_bit_is_refused(service: Opened) -> None:
    """Also behind the good token itself, whose verdict is remembered."""
    application, mint, path = service
    good = mint.token()
    assert (await answer_to(application, path, good))[0] != 401
    for token in flipped_tokens(good):
        status, _, body = await answer_to(application, path, token)
        assert status == 401, f"{token!r}: {status} {body!r}"
