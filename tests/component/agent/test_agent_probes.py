"""What the agent asks of real servers, and what it makes of their answers."""

import asyncio
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ragrid.agent.agent import opened_probe
from ragrid.agent.checks import COMPLETION_EVERY_S, Probe, run_check
from ragrid.errors import SpecError
from ragrid.spec.settings import Check, WatchedInstance
from ragrid.system.clock import ManualClock, SystemClock
from support.agent_rig import Process, eventually
from support.registry_servers import free_ports, missing

CANARIES = "/api/v2/tenants/ragrid_canary/databases/ragrid_canary/collections"


def watched(port: int, check: Check, host: str = "127.0.0.1") -> WatchedInstance:
    return WatchedInstance(service="part", instance_id="part-sark", host=host, port=port, version="1", check=check)


async def error_of(probe: Probe, timeout_s: float = 5.0) -> str:
    return (await run_check(probe, timeout_s=timeout_s, clock=SystemClock())).error


class Model:
    """An HTTP server with the two paths of vLLM that the agent asks; what it answers is set by the test."""

    def __init__(self) -> None:
        self.health = 200
        self.answer: Callable[[], bytes] = lambda: b'{"choices": [{"text": "a"}]}'
        self.status = 200
        self.free = asyncio.Event()
        self.free.set()
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.asked.append(path)
            status, body = self.health, b"{}"
            if path == "/v1/completions":
                length = next(int(line.split(":")[1]) for line in head.splitlines() if "content-length" in line.lower())
                wanted = json.loads(await reader.readexactly(length))
                assert (wanted["model"], wanted["max_tokens"], wanted["temperature"]) == ("tiny", 1, 0)
                await self.free.wait()
                status, body = self.status, self.answer()
            writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def served_model() -> AsyncIterator[tuple[Model, int]]:
    model = Model()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    try:
        yield model, int(server.sockets[0].getsockname()[1])
    finally:
        model.free.set()
        server.close()
        await server.wait_closed()


async def test_completion_asks_a_token_now_and_then_and_health_in_between() -> None:
    clock = ManualClock()
    check = Check(kind="completion", model="tiny")
    async with served_model() as (model, port), opened_probe(watched(port, check), clock) as probe:
        assert [await error_of(probe) for _ in range(3)] == ["", "", ""]
        assert model.asked == ["/health", "/v1/completions", "/health", "/health"]
        clock.advance(COMPLETION_EVERY_S)

        async def asked_again() -> bool:
            assert await error_of(probe) == ""
            return model.asked.count("/v1/completions") == 2

        await eventually(asked_again, lambda: str(model.asked))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"engine dead", "got status 500 'engine dead', wanted 200"),
        (200, b'{"choices": []}', "wanted one choice"),
        (200, b"not json", "wanted a JSON object"),
        (200, b"[1]", "wanted a JSON object"),
    ],
)
async def test_model_that_lives_and_cannot_complete_is_seen(status: int, body: bytes, error: str) -> None:
    check = Check(kind="completion", model="tiny")
    async with served_model() as (model, port), opened_probe(watched(port, check), SystemClock()) as probe:
        model.status, model.answer = status, lambda: body
        assert error in await error_of(probe)
        assert error in await error_of(probe)  # asked again, not remembered
        assert model.asked.count("/v1/completions") == 2
        model.status, model.answer = 200, lambda: b'{"choices": [{}]}'
        assert await error_of(probe) == ""


async def test_busy_model_is_not_dead_once_it_has_worked() -> None:
    clock = ManualClock()
    check = Check(kind="completion", model="tiny")
    async with served_model() as (model, port), opened_probe(watched(port, check), clock) as probe:
        model.free.clear()
        assert await error_of(probe, 0.2) == "no answer within 0.2 s"  # it never worked: the canary decides
        model.free.set()
        assert await error_of(probe) == ""
        clock.advance(COMPLETION_EVERY_S)
        model.free.clear()
        assert [await error_of(probe) for _ in range(3)] == ["", "", ""]
        model.health = 503
        assert "got status 503" in await error_of(probe)


async def test_completion_check_without_a_model_is_refused() -> None:
    with pytest.raises(SpecError, match=r"part/part-sark\.check\.model"):
        async with opened_probe(watched(1, Check(kind="completion")), SystemClock()):
            pass


@pytest.mark.parametrize("kind", ["http", "tcp", "chroma", "completion"])
async def test_nobody_listening_is_an_error_in_words(kind: str, free_port: int) -> None:
    check = Check(kind=kind, model="tiny")  # type: ignore[arg-type]  # one of its values
    async with opened_probe(watched(free_port, check), SystemClock()) as probe:
        assert "Error" in await error_of(probe)


@pytest.mark.parametrize("kind", ["http", "chroma", "completion"])
async def test_server_that_accepts_and_says_nothing_is_cut_off(kind: str) -> None:
    check = Check(kind=kind, model="tiny")  # type: ignore[arg-type]  # one of its values
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with opened_probe(watched(silent.getsockname()[1], check), SystemClock()) as probe:
            assert await error_of(probe, 0.3) == "no answer within 0.3 s"


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", b""])
async def test_server_that_speaks_no_http_is_an_error(answer: bytes) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with (
        server,
        opened_probe(watched(server.sockets[0].getsockname()[1], Check(kind="chroma")), SystemClock()) as probe,
    ):
        assert await error_of(probe)


async def test_tcp_connects_over_both_families() -> None:
    for host in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as server:
            check = Check(kind="tcp")
            async with opened_probe(watched(server.getsockname()[1], check, host), SystemClock()) as probe:
                assert await error_of(probe) == ""


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[tuple[Process, int]]:
    program = Path(sys.executable).with_name("chroma")
    if shutil.which(str(program)) is None:
        missing(f"{program}: not installed; run `make test`")
    port = free_ports(1)[0]
    process = Process(
        [str(program), "run", "--path", str(tmp_path / "chroma"), "--host", "127.0.0.1", "--port", str(port)],
        tmp_path / "chroma.log",
    )
    try:
        process.start()
        yield process, port
    finally:
        process.stop()


async def test_chroma_answers_a_real_query_and_heals_its_canary(chroma: tuple[Process, int]) -> None:
    process, port = chroma
    async with (
        opened_probe(watched(port, Check(kind="chroma")), SystemClock()) as probe,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):

        async def works() -> bool:
            return await error_of(probe) == ""

        await eventually(works, lambda: process.log.read_text()[-2000:])
        assert await works()
        collection = (await client.get(CANARIES)).json()[0]["id"]
        emptied = await client.post(f"{CANARIES}/{collection}/delete", json={"ids": ["ragrid_canary"]})
        assert emptied.status_code == 200
        assert "got ids [[]]" in await error_of(probe)
        assert await works()
        assert (await client.delete(f"{CANARIES}/ragrid_canary")).status_code == 200
        assert await works()  # made again within the same look
        other = (await client.get("/api/v2/tenants/default_tenant/databases/default_database/collections")).json()
        assert other == []  # nothing of ours where users are
