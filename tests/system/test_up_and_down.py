"""What a user types first, and what is left afterwards."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from ragrid.system import owned
from ragrid.system.ports import listening_sockets
from support.running_grid import RAGRID, REPOSITORY, RunningGrid, eventually, grid_document, running_grid


@pytest.fixture(scope="module")
def first_grid() -> Iterator[tuple[RunningGrid, str]]:
    """A grid as `make up` starts it, and what the second `up` printed."""
    document = grid_document(name="first")
    documents = str(REPOSITORY / "examples" / "documents")
    document["welcome"] = {"documents": [documents], "question": "How do I stop the grid without losing data?"}
    with running_grid(document) as grid:
        again = grid.cli("up", str(grid.file))
        assert again.returncode == 0, again.stderr
        yield grid, again.stdout + again.stderr


def test_up_ends_with_a_cited_answer_and_what_to_type_next(first_grid: tuple[RunningGrid, str]) -> None:
    grid, said = first_grid
    assert "How do I stop the grid without losing data?" in said
    assert "ragrid down" in said
    assert "[1] documents/starting-and-stopping.md" in said or "[1] starting-and-stopping.md" in said
    assert grid.address in said
    for verb in ("status", "ingest", "ask"):
        assert f"ragrid {verb}" in said


def test_the_printed_curl_works_as_it_is(first_grid: tuple[RunningGrid, str]) -> None:
    _, said = first_grid
    start = said.index("  curl ")
    command = said[start : said.index("\n\n", start)]
    done = subprocess.run(("sh", "-c", command), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["citations"]


def test_a_second_up_changes_nothing(first_grid: tuple[RunningGrid, str]) -> None:
    grid, said = first_grid
    assert "nothing to change" in said
    assert "unchanged" in said
    before = owned.parts_running(grid.state)
    assert grid.json("up", str(grid.file))["steps"] == []
    assert owned.parts_running(grid.state) == before


def test_status_shows_every_part_healthy_and_scraped(first_grid: tuple[RunningGrid, str]) -> None:
    grid, _ = first_grid
    status = grid.json("status")
    assert status["healthy"]
    assert len(status["parts"]) == 10
    for part in status["parts"]:
        assert part["is_healthy"]
        assert part["scraped"], part
        assert part["version"]
        assert part["pid"] in owned.parts_running(grid.state)
        assert time.time() - part["since_s"] < 3600
    assert status["embedder"] == "all-MiniLM-L6-v2 (semantic)"
    assert status["generator"] == "extractive"
    table = grid.ok("status")
    assert all(part["name"] in table and part["address"] in table for part in status["parts"])


def test_a_change_of_the_grid_file_restarts_only_what_it_concerns(first_grid: tuple[RunningGrid, str]) -> None:
    grid, _ = first_grid
    document = grid.document
    document["services"]["rag"]["chunk_words"] = 100
    grid.file.write_text(yaml.safe_dump(document, sort_keys=False))
    steps = grid.json("up", str(grid.file))["steps"]
    assert steps == [{"action": "restart", "part": "rag"}]


def test_logs_of_each_part_can_be_shown(first_grid: tuple[RunningGrid, str]) -> None:
    grid, _ = first_grid
    assert "launch" in grid.ok("logs", "memory", "--lines", "1000") or grid.ok("logs", "memory")
    assert "did you mean 'memory'?" in grid.cli("logs", "memroy").stderr


def test_doctor_finds_a_running_grid_in_order(first_grid: tuple[RunningGrid, str]) -> None:
    grid, _ = first_grid
    findings = grid.json("doctor")
    assert findings["healthy"]
    assert any("this grid's own" in finding["seen"] for finding in findings["findings"])


def test_down_leaves_no_process_and_keeps_the_data_and_purge_leaves_no_file(
    first_grid: tuple[RunningGrid, str],
) -> None:
    grid, _ = first_grid
    with grid.client(grid.token("writer")) as client:
        place = client.post("/memory/v1/memories", json={"content": "kept over a stop"}).headers["location"]
    grid.ok("down")
    assert owned.parts_running(grid.state) == {}
    ports = {
        port for section in (grid.document["gateway"], grid.document["services"]["memory"]) for port in section.values()
    }
    assert [one for one in listening_sockets() if one.port in ports] == []
    grid.ok("up")
    with grid.client(grid.token("reader")) as client:
        assert client.get(place).json()["content"] == "kept over a stop"
    refused = grid.cli("down", "--purge")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert owned.parts_running(grid.state)
    grid.ok("down", "--purge", "--yes")
    assert owned.parts_running(grid.state) == {}
    assert sorted(path.name for path in grid.home.iterdir()) == ["grid.yaml"]
    grid.ok("up", str(grid.file))


def test_rendered_files_run_without_the_command() -> None:
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    root = home / "out" / "localhost"
    try:
        document = grid_document(name="rendered", services={"rag": {"embedder": {"kind": "hashing"}}})
        (home / "grid.yaml").write_text(yaml.safe_dump(document))
        grid = RunningGrid(home / "grid.yaml", root, home)
        grid.ok("render", str(home / "out"), "--grid", str(grid.file), "--runnable")
        assert owned.parts_running(root) == {}
        supervisord = RAGRID.parent / "supervisord"
        done = subprocess.run(
            (str(supervisord), "-c", str(root / "etc" / "supervisord.conf")),
            timeout=30,
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        with grid.client() as client:
            eventually(lambda: grid_answers(client), "the rendered gateway knows its instances")
    finally:
        supervisorctl = (sys.executable, "-m", "supervisor.supervisorctl", "-c", str(root / "etc" / "supervisord.conf"))
        subprocess.run((*supervisorctl, "shutdown"), timeout=30, check=False, capture_output=True)
        owned.end(lambda: owned.parts_running(root), grace_s=10.0)
        shutil.rmtree(home)


def grid_answers(client: httpx.Client) -> bool:
    try:
        return client.get("/.well-known/jwks.json").status_code == 200
    except httpx.HTTPError:
        return False
