"""What a user may get wrong, and the one line that says how to mend it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.running_grid import RAGRID, RunningGrid, grid_document


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: sockets must fit below it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    yield folder
    shutil.rmtree(folder)


def ragrid(home: Path, *arguments: str, path: str | None = None) -> tuple[int, str]:
    """Run the command; return its exit code and standard error."""
    environment = {**os.environ, "XDG_STATE_HOME": str(home), **({"PATH": path} if path is not None else {})}
    done = subprocess.run(
        (str(RAGRID), *arguments), capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stauts"], "did you mean 'status'?"),
        (["status", "--jsn"], "--json"),
        (["token", "issue", "--role", "king"], "'king'"),
        (["xyzzy"], "known are: up, down"),
        (["logs"], "PART"),
    ],
)
def test_a_wrong_word_exits_2_and_names_the_nearest(home: Path, arguments: list[str], said: str) -> None:
    code, error = ragrid(home, *arguments)
    assert code == 2
    assert said in error
    assert "Usage:" in error


def test_a_bad_grid_exits_3_with_every_fault_and_its_place(home: Path) -> None:
    file = home / "grid.yaml"
    file.write_text("grid: x\nhosts:\n  a: {lan: 1.2.3}\nservices:\n  memry: {}\n  chromadb: {port: 99999}\n")
    code, error = ragrid(home, "up", str(file))
    assert code == 3
    assert f"{file}:3:" in error
    assert f"{file}:5:" in error
    assert "memory" in error
    assert f"{file}:6:" in error
    assert not (home / "ragrid").exists()


def test_a_grid_of_several_hosts_is_not_for_one_machine(home: Path) -> None:
    code, error = ragrid(home, "up", "examples/tron.yaml")
    assert code == 3
    assert "got 2 (sark, clu), wanted 1" in error


def test_a_missing_grid_file_exits_3(home: Path) -> None:
    code, error = ragrid(home, "up", str(home / "none.yaml"))
    assert code == 3
    assert "none.yaml" in error


def test_a_taken_port_names_its_holder_and_its_key(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        document = grid_document()
        document["services"]["memory"]["port"] = holder.getsockname()[1]
        file = home / "grid.yaml"
        file.write_text(yaml.safe_dump(document))
        code, error = ragrid(home, "up", str(file))
    assert code == 4
    assert f"pid {os.getpid()}" in error
    assert "services.memory.port" in error


def test_a_corrupt_state_directory_is_refused_and_kept(home: Path) -> None:
    file = home / "grid.yaml"
    file.write_text(yaml.safe_dump(grid_document()))
    state = home / "state"
    state.mkdir()
    (state / "ragrid-state.json").write_bytes(b"\x00garbage")
    code, error = ragrid(home, "up", str(file), "--state", str(state))
    assert code == 1
    assert "nothing was changed" in error
    assert [(path.name, path.read_bytes()) for path in state.iterdir()] == [("ragrid-state.json", b"\x00garbage")]


def test_a_missing_program_names_the_command_that_installs_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "grid.yaml"
    document = grid_document()
    document["registry"] = {"kind": "consul"}
    file.write_text(yaml.safe_dump(document))
    if shutil.which("consul"):
        pytest.fail("consul is on PATH here; this test needs a program that is not")
    code, error = ragrid(home, "up", str(file))
    assert code == 1
    assert "consul: not installed" in error
    assert "apt-get install" in error
    assert "registry.executable" in error


def test_a_verb_before_the_first_up_says_what_to_do(home: Path) -> None:
    for verb in ("status", "down", "ask"):
        code, error = ragrid(home, verb, *(["why?"] if verb == "ask" else []))
        assert code == 2
        assert "ragrid up" in error


@pytest.mark.parametrize(("question", "limit"), [("", "8,000"), ("why " * 25_000, "8,000")])
def test_a_question_that_is_too_short_or_too_long_is_422_with_the_limit(
    grid: RunningGrid, question: str, limit: str
) -> None:
    with grid.client(grid.token("reader")) as client:
        answer = client.post("/rag/v1/ask", json={"question": question})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert limit in answer.text or limit.replace(",", "") in answer.text


def test_documents_that_cannot_be_read_are_named_and_do_not_stop_the_rest(grid: RunningGrid, tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Kettles\n\nThe kettle lives on the third shelf of the pantry.")
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "latin.txt").write_bytes("Das Café schließt um fünf Uhr.".encode("cp1252"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(100 * 1024 * 1024)
    done = grid.cli("ingest", str(tmp_path), "--json")
    files = {Path(entry["path"]).name: entry for entry in yaml.safe_load(done.stdout)["files"]}
    assert files["good.md"]["status"] == "ingested"
    assert files["latin.txt"]["status"] == "ingested"
    for name in ("empty.md", "binary.txt", "picture.png", "huge.txt"):
        assert files[name]["status"] in {"skipped", "failed"}
        assert files[name]["reason"]
    answer = grid.json("ask", "Where does the kettle live?")
    assert any(citation["document"].endswith("good.md") for citation in answer["citations"])
