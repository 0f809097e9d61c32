"""A ChromaDB server of our own, and the rag service called as the gateway calls it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.spec.settings import EmbedderSettings, GeneratorSettings
from support import after_kill
from support.token_mint import TokenMint

READER = "rag:read chromadb:read"
WRITER = f"{READER} rag:write chromadb:write"
ADMIN = f"{WRITER} rag:admin chromadb:admin"
START_S = 30.0


@dataclass
class Chroma:
    """A ChromaDB server that can be stopped and started again on the same data and port."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("chroma")
        command = (str(program), "run", "--path", str(self.directory), "--host", "127.0.0.1", "--port", str(self.port))
        environment = {**os.environ, "RUST_LOG": "error", "ANONYMIZED_TELEMETRY": "False"}
        self.process = after_kill.start(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/v2/heartbeat", timeout=1).status_code == 200:
                    return
            time.sleep(0.05)
        self.stop()
        pytest.fail(f"chroma did not answer on {self.url} within {START_S:g} s")

    def stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None


@dataclass
class Rag:
    """The service, called as the gateway calls it."""

    client: httpx.AsyncClient
    mint: TokenMint
    tenant: str = "default_tenant"
    headers: dict[str, str] = field(default_factory=dict)

    def token(self, scope: str = ADMIN, tenant: str | None = None) -> dict[str, str]:
        claims = {"aud": ["rag"], "scope": scope, "tenant": tenant or self.tenant}
        return {"Authorization": f"Bearer {self.mint.token(**claims)}"}

    async def put(self, name: str, content: str | bytes, media_type: str = "text/plain", **who: Any) -> httpx.Response:
        headers = {"Content-Type": media_type, **self.token(**who)}
        body = content.encode() if isinstance(content, str) else content
        return await self.client.post("/rag/v1/documents", params={"name": name}, content=body, headers=headers)

    async def ask(self, question: str, *, path: str = "ask", who: dict[str, str] | None = None, **members: Any) -> Any:
        body = {"question": question, **members}
        response = await self.client.post(f"/rag/v1/{path}", json=body, headers=self.token(**(who or {})))
        assert response.status_code == 200, response.text
        return response.json()

    async def get(self, path: str, **who: Any) -> httpx.Response:
        return await self.client.get(f"/rag/v1/{path}", headers=self.token(**who))

    async def delete(self, path: str, **who: Any) -> httpx.Response:
        return await self.client.delete(f"/rag/v1/{path}", headers=self.token(**who))


HASHING = EmbedderSettings(kind="hashing")
EXTRACTIVE = GeneratorSettings(kind="extractive")
OpenRag = Callable[..., AbstractAsyncContextManager[Rag]]
