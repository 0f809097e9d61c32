"""The memory service as a program whose migration waits half-way until a file appears beside its settings.

Imports nothing of the tests, which are not on its path: see halting_memory.py for who runs it.
"""

import sys
import time
from functools import partial
from pathlib import Path

from ragrid.services.memory.service import build
from ragrid.spec.settings import MemorySettings
from ragrid.web.progress import Progress
from ragrid.web.server import run_service

GO_ON = "go-on"
HALT_AT_STEP, HALT_AT_PERCENT = 5, 50
_POLL_S = 0.01


class Halting(Progress):
    """Waits there for the word to go on, or to end."""

    def __init__(self, word: Path) -> None:
        super().__init__()
        self._word = word

    def goes_on(self) -> bool:
        is_there = self.step == HALT_AT_STEP and (self.percent or 0) >= HALT_AT_PERCENT
        while is_there and not self._word.exists() and not self.is_stopped:
            time.sleep(_POLL_S)
        return super().goes_on()


if __name__ == "__main__":
    folder = Path(sys.argv[sys.argv.index("--settings") + 1]).parent
    sys.exit(run_service("memory", MemorySettings, partial(build, progress=Halting(folder / GO_ON))))
