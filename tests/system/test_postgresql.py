"""A grid whose memories and tokens are in a PostgreSQL of its own."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from support.registry_servers import free_ports
from support.running_grid import RunningGrid, eventually, grid_document, running_grid


@pytest.fixture(scope="module")
def own_grid() -> Iterator[RunningGrid]:
    document = grid_document(name="pg")
    for service in ("chromadb", "rag"):
        del document["services"][service]
    document["services"]["memory"]["store"] = "postgresql"
    document["auth"]["store"] = "postgresql"
    document["database"] = dict(zip(("port", "metrics_port"), free_ports(2), strict=True))
    with running_grid(document) as running:
        yield running


def remember(client: httpx.Client, content: str) -> httpx.Response:
    return client.post("/memory/v1/memories", json={"content": content})


def test_it_answers_through_the_gateway_and_survives_a_kill_of_its_database(own_grid: RunningGrid) -> None:
    assert own_grid.part("postgresql")["scraped"] is True
    with own_grid.client(own_grid.token("writer")) as client:
        kept = remember(client, "the first thing")
        assert kept.status_code == 201, kept.text
        before = own_grid.pids("postgresql")
        (keeper,) = [pid for pid in before if b"ragrid.services.database" in command_of(pid)]
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not before & own_grid.pids("postgresql"), "the database ends with its keeper")
        eventually(lambda: remember(client, "another").status_code == 201, "memory takes writes again")
        again = client.get(kept.headers["Location"])
        assert (again.status_code, again.json().get("content")) == (200, "the first thing"), again.text
    eventually(lambda: own_grid.cli("status").returncode == 0, "all is healthy")
    own_grid.tokens.clear()
    assert own_grid.token("writer"), "and tokens are issued"
    assert not (own_grid.state / "data" / "memory" / "memory.sqlite3").exists()


def command_of(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as owned.py reads it
        return file.read()


def test_addresses_with_passwords_are_their_owners_alone(own_grid: RunningGrid) -> None:
    folder = own_grid.state / "secrets" / "database"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == dict.fromkeys(("memory.password", "memory.url", "tokens.password", "tokens.url"), 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700
    passwords = [(folder / f"{name}.password").read_bytes() for name in ("memory", "tokens")]
    for path in [*(own_grid.state / "etc").rglob("*"), *(own_grid.state / "log").iterdir()]:
        if path.is_file():
            assert not any(password in path.read_bytes() for password in passwords), path
