"""The memory API in this very process, over the in-memory store, on a clock that moves when told."""

from collections.abc import AsyncIterator

import httpx
import pytest

from ragrid.services.memory.inmemory.store import InMemoryStore
from ragrid.services.memory.service import build_memory_application
from ragrid.system.clock import ManualClock
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


@pytest.fixture
async def client(mint: TokenMint) -> AsyncIterator[httpx.AsyncClient]:
    application = build_memory_application(InMemoryStore(), mint.verifier(), mint.clock, prefix="/memory")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://memory") as one:
        yield one


@pytest.fixture
def alice(client: httpx.AsyncClient, mint: TokenMint) -> Caller:
    return Caller(client, mint.token(sub="alice", tenant="acme"))
