"""A model that runs elsewhere: any OpenAI-compatible address behind the gateway; and two grids on one machine."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.running_grid import RunningGrid, grid_document, running_grid

KEY = "sk-elsewhere-0123456789"
WORDS = ["Run", " ragrid", " down", " [1]", "."]


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server that asks for its own key and remembers who called."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "far", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not body.get("stream"):
            self._answer({"choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in WORDS:
            event = {"choices": [{"index": 0, "delta": {"content": word}}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _answer(self, document: dict[str, Any]) -> None:
        self.seen.append(dict(self.headers))
        is_known = self.headers["Authorization"] == f"Bearer {KEY}"
        content = json.dumps(document if is_known else {"error": "who are you?"}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@pytest.fixture(scope="module")
def far_grid() -> Iterator[tuple[RunningGrid, list[dict[str, str]]]]:
    seen: list[dict[str, str]] = []
    handler = type("Handler", (Elsewhere,), {"seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        services = {
            "vllm": {
                "address": f"http://127.0.0.1:{server.server_port}/v1",
                "served_name": "far",
                "api_key": "file:key",
            },
            "rag": {"embedder": {"kind": "hashing"}, "generator": {"kind": "vllm"}},
        }
        try:
            with running_grid(grid_document(name="far", services=services), files={"key": KEY}) as grid:
                yield grid, seen
        finally:
            server.shutdown()


def test_the_model_elsewhere_answers_through_the_gateway_with_its_own_key(
    far_grid: tuple[RunningGrid, list[dict[str, str]]],
) -> None:
    grid, seen = far_grid
    token = grid.token("reader")
    with grid.client(token) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["far"]
        chat = client.post("/v1/chat/completions", json={"model": "far", "messages": []})
    assert chat.json()["choices"][0]["message"]["content"] == "".join(WORDS)
    assert token not in json.dumps(seen), "the caller's own token left the grid"


def test_an_answer_is_written_by_the_model_elsewhere(far_grid: tuple[RunningGrid, list[dict[str, str]]]) -> None:
    grid, _ = far_grid
    grid.ok("ingest", "examples/documents")
    answer = grid.json("ask", "How do I stop the grid?")
    assert (answer["answer"], answer["generator"], answer["degraded"]) == ("".join(WORDS), "far", [])


def test_its_key_is_in_no_file_that_others_can_read_and_in_no_log(
    far_grid: tuple[RunningGrid, list[dict[str, str]]],
) -> None:
    grid, _ = far_grid
    holders = [path for path in grid.state.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert {path.parent.name for path in holders} == {"resolved"}
    assert [path for path in holders if path.stat().st_mode & 0o077] == []


def test_two_grids_run_side_by_side(far_grid: tuple[RunningGrid, list[dict[str, str]]], grid: RunningGrid) -> None:
    other, _ = far_grid
    assert grid.status()["healthy"]
    assert other.status()["healthy"]
    with grid.client(other.token("admin")) as client:
        assert client.get("/memory/v1/memories").status_code == 401, "a token of one grid is good in another"
