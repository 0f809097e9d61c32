"""The real token service as a process of its own, on a free port."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.spec.settings import ClientSeed, Listen, TokensSettings, dump_settings
from ragrid.system.files import write_atomic
from support import after_kill

#: A start takes under a second on an idle machine; the rest is for busy ones.
START_S = 30.0
ISSUER = "https://grid.test"


class TokenService:
    """One service and its folder; ended by its own pid, also when a test fails."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.secrets: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self.key_rotation_s = 86_400.0
        self.access_token_s = 600.0
        self.service_token_s = 86_400.0
        #: Holds the address of a PostgreSQL database; without it, the store is a SQLite file.
        self.url_file: Path | None = None

    def launch(self, settings: Path | None = None) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "ragrid.services.tokens", "--settings", str(settings or self.write_settings()))
        with (self.folder / "log").open("ab") as log:
            self.process = after_kill.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process

    def start(self) -> None:
        process = self.launch()
        deadline_s = time.monotonic() + START_S
        seen = "nothing yet"
        while time.monotonic() < deadline_s:
            if process.poll() is not None:
                pytest.fail(f"the service ended with {process.returncode}: {self.log}")
            try:
                answer = self.http.get("/readyz")
            except httpx.TransportError as error:
                seen = str(error)
            else:
                seen = answer.text
                if answer.status_code == 200:
                    return
            time.sleep(0.05)
        pytest.fail(f"not ready after {START_S} s; seen last: {seen}; log: {self.log}")

    def end(self, how: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
            raise

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self.http.close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, client_id: str, **form: str) -> httpx.Response:
        wanted = {"grant_type": "client_credentials", **form}
        return self.http.post("/oauth2/token", data=wanted, auth=(client_id, self.secrets[client_id]))

    def token(self, client_id: str, **form: str) -> str:
        answer = self.ask(client_id, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def bearer(self, client_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(client_id)}"}

    def jwks(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get("/.well-known/jwks.json").json()
        return answer

    def write_settings(self) -> Path:
        seeds = {"reader": "reader", "root": "admin", "memory": "memory-service"}
        clients = []
        for client_id, role in seeds.items():
            path = self.folder / f"{client_id}.secret"
            write_atomic(path, self.secrets.setdefault(client_id, secrets.token_urlsafe(32)).encode(), mode=0o600)
            clients.append(ClientSeed(client_id=client_id, secret_file=path, roles=(role,), tenant="default_tenant"))
        settings = TokensSettings(
            listen=Listen(port=self.port),
            issuer=ISSUER,
            audiences=("chromadb", "memory", "vllm", "rag"),
            data_directory=self.data,
            key_rotation_s=self.key_rotation_s,
            access_token_s=self.access_token_s,
            service_token_s=self.service_token_s,
            store="postgresql" if self.url_file else "sqlite",
            database_url_file=self.url_file,
            roles={**BUILTIN_ROLES, "cook": ("rag:read",)},
            clients=tuple(clients),
        )
        path = self.folder / "tokens.json"
        path.write_bytes(dump_settings(settings))
        return path


def make_service(folder: Path) -> TokenService:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return TokenService(folder, int(listener.getsockname()[1]))
