"""A stand-in for the path to a PostgreSQL server: it passes everything on, until it is told where to cut."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

_SOCKET = ".s.PGSQL.5432"


class CuttingProxy:
    """Listens on a unix socket in `directory` for a server with its own in `server_directory`."""

    def __init__(self, server_directory: Path) -> None:
        self._server_path = str(server_directory / _SOCKET)
        self.directory = tempfile.mkdtemp(dir="/tmp", prefix="ragrid-cut-")
        self._word: bytes | None = None
        self._is_delivered = True
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "CuttingProxy":
        self._listener = await asyncio.start_unix_server(self._serve, f"{self.directory}/{_SOCKET}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self.directory)

    def cut_next(self, word: bytes, *, is_delivered: bool) -> None:
        """Cut the next connection that sends `word`: right behind it, or right before."""
        self._word, self._is_delivered = word, is_delivered

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        from_server, to_server = await asyncio.open_unix_connection(self._server_path)
        answers = asyncio.create_task(_copy(from_server, writer))
        try:
            while data := await reader.read(65536):
                is_cut = self._word is not None and self._word in data
                if not is_cut or self._is_delivered:
                    to_server.write(data)
                    await to_server.drain()
                if is_cut:
                    self._word = None
                    self.cuts += 1
                    # Nothing of the answer may pass.
                    answers.cancel()
                    if self._is_delivered:
                        await from_server.read(1)  # the server has done what it was told
                    break
        finally:
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await answers
            for one in (writer, to_server):
                one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
