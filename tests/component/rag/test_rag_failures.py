"""What is left of an answer when a part is away, and what is left of a document after SIGKILL."""

import asyncio
import contextlib
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from ragrid.spec.settings import EmbedderSettings, GeneratorSettings, Listen, RagSettings, TokenTrust, dump_settings
from ragrid.system.clock import SystemClock
from support.http_server import GridServer
from support.rag_service import ADMIN, EXTRACTIVE, HASHING, Chroma, OpenRag
from support.token_mint import ISSUER, TokenMint

FACT = "The supervisor restarts a failed container within two seconds."
QUESTION = "Who restarts a failed container?"
AWAY = "http://127.0.0.1:9/v1"


async def test_without_its_model_server_the_answer_quotes_and_says_so(chroma: Chroma, open_rag: OpenRag) -> None:
    generator = GeneratorSettings(kind="openai", address=AWAY, model="big")
    async with open_rag(chroma.url, generator=generator) as rag:
        await rag.put("a.txt", FACT)
        answer = await rag.ask(QUESTION)
        assert (answer["generator"], answer["degraded"]) == ("extractive", ["generator-away"])
        assert answer["answer"] == f"“{FACT}” [1]"


async def test_without_its_embedder_words_still_find_and_quote(open_rag: OpenRag) -> None:
    embedder = EmbedderSettings(kind="openai", address=AWAY, model="e")
    async with open_rag("http://127.0.0.1:9", embedder=embedder) as rag:
        assert (await rag.put("a.txt", FACT)).status_code == 202
        answer = await rag.ask(QUESTION)
        assert answer["degraded"] == ["embedder-away"]
        assert answer["answer"] == f"“{FACT}” [1]"
        assert (await rag.get("documents")).json()["documents"][0]["state"] == "pending"
        assert (await rag.client.get("/readyz")).status_code == 503


async def test_a_stream_that_breaks_off_ends_with_an_error_and_never_with_done(
    chroma: Chroma, open_rag: OpenRag, model_server: GridServer
) -> None:
    model_server.answer(
        b'data: {"choices": [{"delta": {"content": "Half an "}}]}\n\n', content_type="text/event-stream"
    )
    generator = GeneratorSettings(kind="openai", address=f"{model_server.address}/v1", model="m")
    async with open_rag(chroma.url, generator=generator) as rag:
        await rag.put("a.txt", FACT)
        body = {"question": QUESTION, "stream": True}
        response = await rag.client.post("/rag/v1/ask", json=body, headers=rag.token())
        names = [line for line in response.text.splitlines() if line.startswith("event: ")]
        assert names == ["event: citations", "event: token", "event: error"]
        assert '"status":503' in response.text
        whole = await rag.client.post("/rag/v1/ask", json={"question": QUESTION}, headers=rag.token())
        assert (whole.status_code, whole.json()["code"]) == (503, "unavailable")


async def test_the_model_is_asked_with_the_callers_own_token(
    chroma: Chroma, open_rag: OpenRag, model_server: GridServer
) -> None:
    stream = b'data: {"choices": [{"delta": {"content": "The supervisor [1]."}}]}\n\ndata: [DONE]\n\n'
    model_server.answer(stream, content_type="text/event-stream")
    generator = GeneratorSettings(kind="openai", address=f"{model_server.address}/v1", model="m")
    async with open_rag(chroma.url, generator=generator) as rag:
        await rag.put("a.txt", FACT)
        headers = rag.token()
        answer = (await rag.client.post("/rag/v1/ask", json={"question": QUESTION}, headers=headers)).json()
        assert (answer["answer"], answer["generator"], answer["cited"]) == ("The supervisor [1].", "m", [1])
        assert model_server.seen[0].headers["authorization"] == headers["Authorization"]


def _settings(directory: Path, port: int, gateway_url: str) -> RagSettings:
    return RagSettings(
        listen=Listen(port=port),
        trust=TokenTrust(issuer=ISSUER, audience="rag", jwks_file=directory / "jwks.json"),
        data_directory=directory / "data",
        gateway_url=gateway_url,
        gateway_ca_file=None,
        embedder=HASHING,
        generator=EXTRACTIVE,
    )


async def _start(directory: Path, port: int) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "ragrid.services.rag", "--settings", str(directory / "rag.json"))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    async with httpx.AsyncClient() as client:
        while time.monotonic() < deadline and process.returncode is None:
            try:
                if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                    return process
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    pytest.fail("the rag service did not become ready within 30 s")


async def test_acknowledged_documents_survive_sigkill(chroma: Chroma, tmp_path: Path) -> None:
    """The process is killed while it takes documents in; what it answered for is found afterwards."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    mint = TokenMint(clock=SystemClock())  # type: ignore[arg-type]  # a real process has real time
    (tmp_path / "jwks.json").write_bytes(mint.jwks)
    (tmp_path / "rag.json").write_bytes(dump_settings(_settings(tmp_path, port, chroma.url)))
    headers = {"Authorization": f"Bearer {mint.token(aud=['rag'], scope=ADMIN, tenant='killed-tenant')}"}
    url = f"http://127.0.0.1:{port}/rag/v1"
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def write(worker: int) -> None:
        async with httpx.AsyncClient(headers=headers) as client:
            for number in range(1000):
                name = f"{worker}-{number}.txt"
                response = await client.post(f"{url}/documents?name={name}", content=f"Fact {name} holds.")
                assert response.status_code == 201
                acknowledged.append(name)
                if len(acknowledged) == 10:
                    enough.set()

    process = await _start(tmp_path, port)
    writers = [asyncio.create_task(write(worker)) for worker in range(3)]
    try:
        await asyncio.wait_for(enough.wait(), 60)
    finally:
        process.kill()
        await process.wait()
    await asyncio.gather(*writers, return_exceptions=True)
    process = await _start(tmp_path, port)
    try:
        async with httpx.AsyncClient(headers=headers) as client:
            listed = (await client.get(f"{url}/documents?limit=1000")).json()["documents"]
            states = {each["document"]: each["state"] for each in listed}
            assert {name: states.get(name) for name in acknowledged} == dict.fromkeys(acknowledged, "indexed")
            body = {"question": "Which fact holds?", "mode": "vector", "k": 50}
            found = (await client.post(f"{url}/search", json=body)).json()["citations"]
            assert set(acknowledged[:40]) <= {each["document"] for each in found}
    finally:
        process.terminate()
        await process.wait()
