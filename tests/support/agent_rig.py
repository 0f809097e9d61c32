"""Processes for the agent's component tests: the agent itself, and a part for it to look after."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from ragrid.agent.status import AgentStatus
from ragrid.errors import RagridError
from ragrid.registry.protocol import Registry
from ragrid.spec.settings import AgentSettings, dump_settings
from support import after_kill
from support.registry_servers import free_ports

#: No single wait lasts longer, seconds; a passing one is over in a fraction of it.
PATIENCE_S = 30.0


async def eventually(what: Callable[[], Awaitable[bool]], tell: Callable[[], str]) -> None:
    """Wait until `what` holds; when it never does, say what `tell` saw last."""
    deadline = time.monotonic() + PATIENCE_S
    while not await what():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_S:g} s; {tell()}")
        await asyncio.sleep(0.05)


async def registered_ids(registry: Registry) -> list[str] | None:
    """The ids in the registry, None while it does not answer."""
    try:
        return [one.instance_id for one in (await registry.list()).instances]
    except RagridError:
        return None


class Process:
    """One child process with a log, ended whatever happens."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = command
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = after_kill.start(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int) -> int:
        """Send a signal that ends it; return the exit code."""
        self.signal(number)
        assert self.process is not None
        code = self.process.wait(timeout=PATIENCE_S)
        self.process = None
        return code

    def stop(self) -> None:
        """End it, hung or not; calling it again is no error."""
        if self.process is not None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(timeout=PATIENCE_S)
            self.process = None


class HttpPart(Process):
    """A small real HTTP server: 200 for /healthz while the file is there, 404 when it is not."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)[0]
        self.page = directory / "pages" / "healthz"
        self.page.parent.mkdir(parents=True)
        self.page.write_text("fine")
        command = [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1"]
        super().__init__([*command, "--directory", str(self.page.parent)], directory / "part.log")


class AgentProcess(Process):
    """The agent as the supervisor runs it."""

    def __init__(self, directory: Path, settings: AgentSettings) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.listen.port}"
        file = directory / "agent.json"
        file.write_bytes(dump_settings(settings))
        super().__init__([sys.executable, "-m", "ragrid.agent", "--settings", str(file)], directory / "agent.log")

    async def status(self) -> AgentStatus | None:
        """What it last wrote, None before the first time."""
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(self.settings.status_file.read_bytes(), type=AgentStatus)
        return None

    async def page(self, path: str) -> str:
        """One page of its HTTP side, with the status in front."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            answer = await client.get(path)
        return f"{answer.status_code} {answer.text}"

    def tell(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]

    async def sees(self, registry: Registry, wanted: list[str]) -> None:
        """Wait until the registry lists exactly `wanted`."""

        async def listed() -> bool:
            return await registered_ids(registry) == wanted

        await eventually(listed, self.tell)
