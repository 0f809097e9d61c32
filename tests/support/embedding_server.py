"""A server of embeddings that can be away, slow to answer, or gone, as tests want it."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from ragrid.inference.hashing import hash_text

DIMENSION = 64


class EmbeddingServer(ThreadingHTTPServer):
    """Speaks OpenAI's API on a free port of the loopback; a text is its hashed words."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_away = False
        self.is_hanging = False
        self.embedded: list[str] = []
        self.let_go = threading.Event()

    @property
    def address(self) -> str:
        """What an embedder's `address` is."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer, refuse, or keep the caller waiting."""
        texts = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))["input"]
        if self.server.is_hanging:
            self.server.let_go.wait(300)
            self.close_connection = True
            return
        if self.server.is_away:
            self._answer(503, {"error": "away"})
            return
        self.server.embedded += texts
        rows = [{"index": n, "embedding": hash_text(text, DIMENSION).tolist()} for n, text in enumerate(texts)]
        self._answer(200, {"data": rows})

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: object) -> None:
        content = msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """Run one in a thread for as long as the context lasts."""
    with EmbeddingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()
