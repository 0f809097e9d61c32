"""The memory service as a real process, with a mint whose tokens it takes."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from ragrid.spec.settings import EmbedderSettings, Listen, MemorySettings, TokenTrust, dump_settings
from ragrid.system.clock import ManualClock
from ragrid.system.files import write_atomic
from support import after_kill
from support.memory_calls import Caller
from support.token_mint import AUDIENCE, ISSUER, TokenMint

#: A start takes under a second; a machine that is busy gets more.
START_S = 30.0


class MemoryProcess:
    """`python -m ragrid.services.memory` over one data directory; may be killed and started again."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        max_store_bytes: int | None = None,
        embedder: EmbedderSettings | None = None,
        database_url: str | None = None,
    ) -> None:
        self.mint = TokenMint(clock=ManualClock(time.time()))
        self.data_directory = folder / "data"
        self.url = f"http://127.0.0.1:{port}"
        self.settings_file = folder / "memory.json"
        self.log_file = folder / "memory.log"
        (folder / "jwks.json").write_bytes(self.mint.jwks)
        settings = MemorySettings(
            listen=Listen(port=port),
            trust=TokenTrust(issuer=ISSUER, audience=AUDIENCE, jwks_file=folder / "jwks.json"),
            data_directory=self.data_directory,
            store="sqlite" if database_url is None else "postgresql",
            database_url_file=None if database_url is None else folder / "database-url",
            max_store_bytes=max_store_bytes,
            embedder=embedder,
        )
        if settings.database_url_file is not None and database_url is not None:
            write_atomic(settings.database_url_file, database_url.encode(), mode=0o600)
        self.settings_file.write_bytes(dump_settings(settings))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run one that is expected to refuse to start."""
        return subprocess.run(self.command, capture_output=True, text=True, timeout=START_S, check=False)

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "ragrid.services.memory", "--settings", str(self.settings_file))

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = after_kill.start(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"memory did not start: {self.log_file.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(START_S)

    def caller(self, client: httpx.AsyncClient, **claims: str) -> Caller:
        return Caller(client, self.mint.token(**claims))
