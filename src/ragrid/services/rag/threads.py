"""The ingest log off the event loop: one thread writes, another reads, each with a connection of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from ragrid.services.rag.log import IngestLog

P = ParamSpec("P")
T = TypeVar("T")


class LogThreads:
    """Runs calls of IngestLog; a long write never holds up a question."""

    def __init__(self, path: Path) -> None:
        """Open the log. Raises StateError as IngestLog does."""
        # The writer comes first: it creates the file.
        self._writer, self._reader = IngestLog(path), IngestLog(path)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="log-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="log-read")

    async def write(self, call: Callable[Concatenate[IngestLog, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(log, …)`, run by the writing thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._write_thread, lambda: call(self._writer, *args, **kwargs))

    async def read(self, call: Callable[Concatenate[IngestLog, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `call(log, …)`, run by the reading thread; sees everything whose `write` has returned."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._read_thread, lambda: call(self._reader, *args, **kwargs))

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self.write(IngestLog.close)
        await self.read(IngestLog.close)
        self._write_thread.shutdown()
        self._read_thread.shutdown()
