"""The memory service as a real process whose migration waits half-way until a test lets it go on."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support import after_kill
from support.halting_memory_program import GO_ON, HALT_AT_PERCENT, HALT_AT_STEP
from support.memory_process import START_S, MemoryProcess

PROGRAM = Path(__file__).with_name("halting_memory_program.py")
_POLL_S = 0.01


class HaltingMemory(MemoryProcess):
    """A MemoryProcess that halts in its migration."""

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, str(PROGRAM), "--settings", str(self.settings_file))

    def start_and_halt(self) -> None:
        """Start it, and return once it stands there."""
        with self.log_file.open("ab") as log:
            self.process = after_kill.start(self.command, stdout=log, stderr=log)
        self._await(lambda answer: f"step {HALT_AT_STEP} of" in answer.text and _percent(answer) >= HALT_AT_PERCENT)

    def let_go(self) -> None:
        """Say that it may go on."""
        (self.settings_file.parent / GO_ON).touch()

    def await_ready(self) -> None:
        """Return once it serves."""
        self._await(lambda answer: answer.status_code == httpx.codes.OK)

    def _await(self, is_met: Callable[[httpx.Response], bool]) -> None:
        deadline = time.monotonic() + START_S
        seen = "nothing"
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            try:
                answer = httpx.get(f"{self.url}/readyz")
            except httpx.TransportError:
                continue
            seen = answer.text
            if is_met(answer):
                return
            time.sleep(_POLL_S)
        pytest.fail(f"memory said last {seen}; its log: {self.log_file.read_text()[-2000:]}")


def _percent(answer: httpx.Response) -> int:
    return int(answer.json()["progress"]["percent"] or 0)
