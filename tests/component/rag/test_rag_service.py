"""The rag service against a real ChromaDB: ingest, ask, tenants, and what happens while ChromaDB is away."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.spec.settings import EmbedderSettings
from support.rag_service import Chroma, OpenRag

GATEWAY = """# The gateway

The gateway is the only way in. It verifies the token of every request.

## Restarting

When a container fails, the supervisor starts it again within two seconds.
A part that dies five times in a minute stays down and is reported.
"""
BACKUP = """<html><head><title>Backups</title></head><body><nav>Home Next</nav>
<h1>Backups</h1><p>Every night at half past two, all stores are copied to two repositories.</p>
<p>Old copies are kept for seven days.</p></body></html>"""


async def test_a_cited_answer_points_into_the_stored_text(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        first = await rag.put("docs/gateway.md", GATEWAY, "text/markdown")
        assert first.status_code == 201, first.text
        assert (first.json()["status"], first.json()["state"]) == ("ingested", "indexed")
        await rag.put("backup.html", BACKUP, "text/html")
        answer = await rag.ask("When a container fails, who starts it again?")
        assert "the supervisor starts it again within two seconds" in answer["answer"]
        assert answer["generator"] == "extractive"
        assert answer["embedder"] == "hashing"
        assert answer["degraded"] == []
        assert {"embed", "vector", "lexical", "retrieval", "generate", "total"} <= answer["timings_ms"].keys()
        for citation in answer["citations"]:
            text = (await rag.get(f"documents/{citation['document_id']}/text")).text
            assert text[citation["start"] : citation["end"]] == citation["text"]
            assert 0 < citation["score"] <= 1
        best = answer["citations"][answer["cited"][0] - 1]
        assert best["document"] == "docs/gateway.md"
        assert "Home Next" not in (await rag.get(f"documents/{first.json()['id']}/text")).text


async def test_a_streamed_answer_is_the_same_and_ends_with_done(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        await rag.put("gateway.md", GATEWAY)
        question = "When a container fails, who starts it again?"
        whole = await rag.ask(question)
        body = {"question": question, "stream": True}
        response = await rag.client.post("/rag/v1/ask", json=body, headers=rag.token())
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [block.split("\n", 1) for block in response.text.strip().split("\n\n")]
        parsed = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]
        assert [name for name, _ in parsed][:1] + [name for name, _ in parsed][-1:] == ["citations", "done"]
        assert "".join(body["text"] for name, body in parsed if name == "token") == whole["answer"]
        assert parsed[-1][1]["generator"] == "extractive"


async def test_the_same_file_is_left_alone_and_a_changed_one_replaces_it(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        await rag.put("a.txt", "The moon is made of green cheese, they say.")
        again = await rag.put("a.txt", "The moon is made of green cheese, they say.")
        assert (again.status_code, again.json()["status"]) == (200, "unchanged")
        changed = await rag.put("a.txt", "The sun is made of hydrogen and of helium.")
        assert (changed.status_code, changed.json()["status"], changed.json()["version"]) == (200, "replaced", 2)
        for mode in ("vector", "lexical", "hybrid"):
            found = await rag.ask("What is the moon, or the sun, made of?", path="search", mode=mode)
            assert ["hydrogen" in each["text"] for each in found["citations"]] == [True], mode


async def test_a_deleted_document_is_gone_from_every_answer(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        kept = (await rag.put("kept.txt", "Badgers dig their setts in sandy soil.")).json()
        gone = (await rag.put("gone.txt", "Badgers eat earthworms most of the time.")).json()
        assert (await rag.delete(f"documents/{gone['id']}")).json()["degraded"] == []
        assert (await rag.get(f"documents/{gone['id']}")).status_code == 404
        assert (await rag.delete("documents?name=gone.txt")).status_code == 404
        found = await rag.ask("What do badgers do?", path="search")
        assert {each["document_id"] for each in found["citations"]} == {kept["id"]}
        back = await rag.put("gone.txt", "Badgers eat earthworms most of the time.")
        assert back.json()["status"] == "ingested"
        assert len((await rag.ask("What do badgers do?", path="search", mode="vector"))["citations"]) == 2
        assert (await rag.delete("documents?name=gone.txt")).status_code == 200


async def test_tenants_never_see_each_other(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        mine = (await rag.put("secret.txt", "The vault opens with the word swordfish.", tenant="tenant-one")).json()
        await rag.put("other.txt", "The vault of the other bank is empty.", tenant="tenant-two")
        found = await rag.ask("Which word opens the vault?", path="search", who={"tenant": "tenant-two"})
        assert {each["document"] for each in found["citations"]} == {"other.txt"}
        for path in (f"documents/{mine['id']}", f"documents/{mine['id']}/text"):
            assert (await rag.get(path, tenant="tenant-two")).status_code == 404
        assert (await rag.delete(f"documents/{mine['id']}", tenant="tenant-two")).status_code == 404
        listed = (await rag.get("documents", tenant="tenant-two")).json()["documents"]
        assert [each["document"] for each in listed] == ["other.txt"]


async def test_while_chromadb_is_away_nothing_is_lost_and_words_still_find(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        await rag.put("before.txt", "Herons stand still in shallow water and wait.")
        chroma.stop()
        try:
            pending = await rag.put("during.txt", "Kingfishers dive into shallow water for fish.")
            assert (pending.status_code, pending.json()["state"]) == (202, "pending")
            assert pending.json()["degraded"] == ["index-pending"]
            found = await rag.ask("Who dives into shallow water?")
            assert found["degraded"] == ["vector-store-away"]
            assert found["citations"][0]["document"] == "during.txt"
            deleted = await rag.delete("documents?name=before.txt")
            assert deleted.json()["degraded"] == ["vectors-left-over"]
        finally:
            chroma.start()
        found = await rag.ask("Who dives into shallow water?", path="search")
        assert found["degraded"] == ["index-incomplete"]
        assert {each["document"] for each in found["citations"]} == {"during.txt"}
        finished = await rag.put("during.txt", "Kingfishers dive into shallow water for fish.")
        assert (finished.status_code, finished.json()["status"]) == (201, "ingested")
        found = await rag.ask("Who dives into shallow water?", path="search", mode="vector")
        assert found["degraded"] == []
        assert [each["document"] for each in found["citations"]] == ["during.txt"]


async def test_a_lost_index_is_rebuilt_from_the_log(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        for number in range(5):
            await rag.put(f"{number}.txt", f"Fact number {number}: owls of kind {number} hunt at night.")
        collections = f"{chroma.url}/api/v2/tenants/{rag.tenant}/databases/default_database/collections"
        async with httpx.AsyncClient() as direct:
            (collection,) = (await direct.get(collections)).json()
            assert (await direct.delete(f"{collections}/{collection['name']}")).status_code == 200
        assert (await rag.ask("owls", path="search", mode="vector"))["citations"] == []
        rebuilt = await rag.client.post("/rag/v1/rebuild", headers=rag.token())
        assert rebuilt.json() == {"documents": 5, "chunks": 5, "collection": collection["name"]}
        assert len((await rag.ask("owls", path="search", mode="vector"))["citations"]) == 5


async def test_another_embedder_gets_its_own_collection_and_says_what_is_missing(
    chroma: Chroma, open_rag: OpenRag, model_directory: Path
) -> None:
    async with open_rag(chroma.url) as rag:
        await rag.put("a.txt", "Containers are restarted by Docker when they fail.")
    semantic = EmbedderSettings(kind="onnx", directory=model_directory)
    async with open_rag(chroma.url, embedder=semantic) as rag:
        found = await rag.ask("How do I reboot a failed service?", path="search")
        assert found["degraded"] == ["index-incomplete"]
        assert (await rag.get("documents")).json()["documents"][0]["state"] == "pending"
        again = await rag.put("a.txt", "Containers are restarted by Docker when they fail.")
        assert (again.status_code, again.json()["status"]) == (201, "ingested")
        found = await rag.ask("How do I reboot a failed service?", path="search", mode="vector")
        assert [each["document"] for each in found["citations"]] == ["a.txt"]
        assert found["embedder"] == "all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "ask", "rag:write"),
        ("POST", "search", "memory:read"),
        ("GET", "documents", ""),
        ("POST", "documents?name=a", "rag:read chromadb:read"),
        ("DELETE", "documents/x", "rag:read"),
        ("POST", "rebuild", "rag:read rag:write"),
    ],
)
async def test_what_a_token_does_not_allow_is_refused(open_rag: OpenRag, method: str, path: str, scope: str) -> None:
    async with open_rag("http://127.0.0.1:9") as rag:
        response = await rag.client.request(method, f"/rag/v1/{path}", headers=rag.token(scope), content=b"{}")
        assert (response.status_code, response.json()["code"]) == (403, "insufficient-scope")
        assert (await rag.client.request(method, f"/rag/v1/{path}")).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("ask", {"question": ""}, 422, "invalid-question"),
        ("ask", {"question": "  \n"}, 422, "invalid-question"),
        ("ask", {"question": "x" * 8001}, 422, "invalid-question"),
        ("ask", {"question": "x" * 100_000}, 422, "invalid-question"),
        ("ask", {"question": 3}, 422, "invalid-body"),
        ("ask", {"question": "x", "k": 0}, 422, "invalid-body"),
        ("ask", {"question": "x", "tenant": "other"}, 422, "invalid-body"),
        ("search", {"question": "x", "mode": "magic"}, 422, "invalid-body"),
        ("ask", None, 400, "invalid-json"),
    ],
)
async def test_bad_questions_are_refused(open_rag: OpenRag, path: str, body: Any, status: int, code: str) -> None:
    async with open_rag("http://127.0.0.1:9") as rag:
        content = b"{" if body is None else json.dumps(body).encode()
        response = await rag.client.post(f"/rag/v1/{path}", content=content, headers=rag.token())
        assert (response.status_code, response.json()["code"]) == (status, code)
        if code == "invalid-question":
            assert "8000" in response.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content", "media_type", "status", "code"),
    [
        ("a.txt", b"", "text/plain", 422, "empty-document"),
        ("a.txt", b" \n\t ", "text/plain", 422, "empty-document"),
        ("a.html", b"<script>1</script>", "text/html", 422, "empty-document"),
        ("a.txt", b"text\0more", "text/plain", 415, "binary-document"),
        ("a.txt", b"%PDF-1.7 and so on", "text/plain", 415, "binary-document"),
        ("a.pdf", b"text", "application/pdf", 415, "unsupported-media-type"),
        ("a.bin", b"text", "application/octet-stream", 415, "unsupported-media-type"),
        ("", b"text", "text/plain", 422, "invalid-name"),
        ("x" * 513, b"text", "text/plain", 422, "invalid-name"),
        ("a\nb", b"text", "text/plain", 422, "invalid-name"),
        ("a.html", b"<div>" * 5000 + b"deep", "text/html", 422, "document-too-deep"),
    ],
)
async def test_bad_documents_are_named_and_refused(
    open_rag: OpenRag, name: str, content: bytes, media_type: str, status: int, code: str
) -> None:
    async with open_rag("http://127.0.0.1:9") as rag:
        response = await rag.put(name, content, media_type)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert (await rag.get("documents")).json() == {"documents": [], "next": None}


async def test_a_file_over_32_mib_is_refused(open_rag: OpenRag) -> None:
    async with open_rag("http://127.0.0.1:9") as rag:
        response = await rag.put("big.txt", b"x" * (32 * 1024 * 1024 + 1))
        assert response.status_code == 413


async def test_lists_come_in_pages_and_by_prefix(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url) as rag:
        names = ["a/1.txt", "a/2.txt", "b%_.txt", "c.txt"]
        await asyncio.gather(*(rag.put(name, f"This is the file called {name}.") for name in names))
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await rag.get(f"documents?limit=3&cursor={cursor}")).json()
            seen += [each["document"] for each in page["documents"]]
            cursor = page["next"]
        assert seen == names
        assert [d["document"] for d in (await rag.get("documents?prefix=a/")).json()["documents"]] == names[:2]
        for bad in ("limit=0", "limit=1001", "limit=x", "cursor=%C3%A4", "cursor=%2F%2F8"):
            assert (await rag.get(f"documents?{bad}")).status_code == 422


async def test_a_tenant_without_documents_gets_an_honest_answer(chroma: Chroma, open_rag: OpenRag) -> None:
    async with open_rag(chroma.url, tenant="nobody-was-here") as rag:
        answer = await rag.ask("Where is everybody?")
        assert (answer["answer"], answer["citations"]) == ("Nothing relevant was found in the documents.", [])
        assert answer["degraded"] == []


async def test_readiness_embeds_and_reads(open_rag: OpenRag) -> None:
    async with open_rag("http://127.0.0.1:9") as rag:
        ready = (await rag.client.get("/readyz")).json()
        assert ready["embedder"] == "hashing"
        assert ready["is_semantic"] is False
        assert "rag_retrieval_seconds" in (await rag.client.get("/metrics")).text
