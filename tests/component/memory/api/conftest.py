"""The whole memory API in this very process, over the in-memory store, on a clock that moves when told."""

from collections.abc import AsyncIterator

import httpx
import pytest

from ragrid.services.memory.api.openapi import openapi_document
from ragrid.services.memory.api.routes import MemoryApi
from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
from support.described import Described
from support.memory_calls import Caller
from support.token_mint import TokenMint


@pytest.fixture(scope="session")
def session_mint() -> TokenMint:
    return TokenMint()


@pytest.fixture
def mint(session_mint: TokenMint) -> TokenMint:
    session_mint.clock = ManualClock()
    return session_mint


@pytest.fixture
def clock(mint: TokenMint) -> ManualClock:
    return mint.clock


@pytest.fixture(scope="session")
def described() -> Described:
    operations = MemoryApi(InMemoryStore(), ManualClock()).operations
    return Described(openapi_document(operations, base="/memory/v1", version="0"))


@pytest.fixture
async def client(mint: TokenMint, described: Described) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API; every answer that it gets is held against the API's own description."""
    application = build_memory_application(InMemoryStore(), mint.verifier(), mint.clock, prefix="/memory")
    hooks = {"response": [described.hook]}
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://memory", event_hooks=hooks) as one:
        yield one


@pytest.fixture
def alice(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="alice", tenant="acme"))
