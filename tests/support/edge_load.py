"""Requests in a loop through an edge, counted by the client itself."""

import collections
import threading
from typing import Any

import httpx


class Load:
    """Requests in a loop from several threads until the block ends; `statuses` and `errors` say what came of them."""

    def __init__(self, edge: Any, method: str, path: str, threads: int = 4) -> None:
        self._edge, self._method, self._path, self._threads = edge, method, path, threads
        self._stop = threading.Event()
        self.statuses: collections.Counter[int] = collections.Counter()
        self.errors: list[str] = []

    def _run(self) -> None:
        bearer = self._edge.signer.bearer()
        with httpx.Client(base_url=self._edge.url, headers=bearer, timeout=20) as client:
            while not self._stop.is_set():
                try:
                    self.statuses[client.request(self._method, self._path).status_code] += 1
                except httpx.HTTPError as error:
                    self.errors.append(repr(error))

    def __enter__(self) -> "Load":
        self._workers = [threading.Thread(target=self._run) for _ in range(self._threads)]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    def done(self) -> int:
        return sum(self.statuses.values())
