"""A store that is opened when the server starts: once, or not at all and said so."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from ragrid.errors import StateError
from ragrid.services.memory.errors import StoreBrokenError
from ragrid.services.memory.opening import OpenedAtStart, open_shared_store
from ragrid.spec.settings import Listen, MemorySettings, TokenTrust

LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0"}}


async def started(application: ASGIApp) -> list[Message]:
    """Start it and stop it again, as a server does; return what it said."""
    said: list[Message] = []
    words = iter(("startup", "shutdown"))

    async def receive() -> Message:
        return {"type": f"lifespan.{next(words)}"}

    async def send(message: Message) -> None:
        said.append(message)

    await application(dict(LIFESPAN), receive, send)
    return said


def making(application: ASGIApp, calls: list[str]) -> Callable[[], Awaitable[ASGIApp]]:
    async def make() -> ASGIApp:
        calls.append("made")
        return application

    return make


async def test_it_is_made_once_and_is_the_application_from_then_on() -> None:
    calls: list[str] = []
    inner = Starlette()
    inner.on_stop = (lambda: calls.append("stopped"),)  # type: ignore[attr-defined]  # as build_application does
    outer = OpenedAtStart(making(inner, calls))
    for stop in outer.on_stop:
        stop()  # a server that is stopped before it started
    assert calls == []
    said = [message["type"] for message in await started(outer)]
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    await started(outer)
    for stop in outer.on_stop:
        stop()
    assert calls == ["made", "stopped"]


async def test_a_store_that_cannot_be_opened_is_said_and_nothing_serves() -> None:
    async def make() -> ASGIApp:
        raise StoreBrokenError("the disk is on fire")

    (said,) = await started(OpenedAtStart(make))
    assert said["type"] == "lifespan.startup.failed"
    assert "on fire" in said["message"]


def kept_in_postgresql(tmp_path: Path, *, file: Path | None, max_store_bytes: int | None = None) -> MemorySettings:
    return MemorySettings(
        listen=Listen(port=1),
        trust=TokenTrust(issuer="https://grid.test", audience="memory", jwks_file=tmp_path / "jwks.json"),
        data_directory=tmp_path,
        store="postgresql",
        database_url_file=file,
        max_store_bytes=max_store_bytes,
    )


@pytest.mark.parametrize("file", [None, Path("/no/such/file")])
async def test_an_address_that_is_not_there_is_named(file: Path | None, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="database_url_file" if file is None else "/no/such/file"):
        await open_shared_store(kept_in_postgresql(tmp_path, file=file))


async def test_a_bound_that_would_not_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="max_store_bytes: got 1000, wanted none with postgresql"):
        await open_shared_store(kept_in_postgresql(tmp_path, file=None, max_store_bytes=1000))
