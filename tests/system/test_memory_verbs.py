"""`ragrid memory` as a user types it, through the gateway."""

import io
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragrid.cli.main import run
from support.running_grid import RAGRID, RunningGrid

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(grid: RunningGrid, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Return a function that runs one verb in a namespace of the test: in this process, as a start takes a second."""

    def type_one(*arguments: str) -> tuple[int, str, str]:
        code = run(("memory", *arguments, "-n", f"verbs-{tmp_path.name}"[:64], "--state", str(grid.state)))
        output = capsys.readouterr()
        return code, output.out, output.err

    return type_one


def shown(typed: Typed, *arguments: str) -> Any:
    code, output, errors = typed(*arguments, "--json")
    assert code == 0, errors
    return json.loads(output)


def test_the_installed_command(grid: RunningGrid) -> None:
    assert grid.ok("memory", "put", "Ada drinks green tea", "--id", "tea", "-n", "installed") == "tea\n"
    assert "Ada drinks green tea" in grid.ok("memory", "get", "tea", "-n", "installed")


def test_a_memory_is_kept_found_changed_and_deleted(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--id", "tea", "--user", "ada", "--tag", "drink", "--metadata", "cups=2", "--ttl", "1h", "--new")
    assert typed("put", "Ada drinks green tea", *options)[:2] == (0, "tea\n")
    kept = shown(typed, "get", "tea")
    assert (kept["version"], kept["metadata"], kept["expires_at"] is None) == (1, {"cups": 2}, False)
    assert "Ada drinks green tea" in typed("get", "tea")[1]

    code, _, errors = typed("put", "x", "--id", "tea", "--new")
    assert (code, "412: the memory exists (version 1)" in errors) == (4, True)

    file = tmp_path / "plan.md"
    file.write_text("# Plan\n\nBrew more tea.\n")
    plan = shown(typed, "put", "--file", str(file), "--type", "procedural")
    assert (plan["content"], plan["type"]) == (file.read_text(), "procedural")
    assert [one["id"] for one in shown(typed, "list")["memories"]] == [plan["id"], "tea"]
    assert [one["id"] for one in shown(typed, "list", "--user", "ada")["memories"]] == ["tea"]
    limited = shown(typed, "list", "--limit", "1")
    assert (len(limited["memories"]), limited["is_complete"]) == (1, False)
    code, output, errors = typed("list", "--limit", "1")
    assert (code, "Brew more tea." in output, "more than these 1" in errors) == (0, True, True)
    code, output, errors = typed("search", "green tea?", "-k", "1")
    assert (code, "Ada drinks green tea" in output, "search" in errors) == (0, True, True)
    found = shown(typed, "search", "tea", "--tag", "drink")
    assert [one["memory"]["id"] for one in found["results"]] == ["tea"]

    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert typed("delete", "tea")[0] == 130, "it asks, and nobody answered"
    code, _, errors = typed("delete", "tea", "--if-version", "7", "--yes")
    assert (code, "wanted 7" in errors) == (4, True)
    assert shown(typed, "delete", "tea", "--yes") == {"id": "tea", "deleted": True}
    code, _, errors = typed("get", "tea")
    assert (code, "no memory 'tea'" in errors) == (1, True)
    history = shown(typed, "history", "tea")["events"]
    assert [(one["op"], one["version"]) for one in history] == [("delete", 2), ("create", 1)]


def test_standard_input_is_content_and_slips_are_named(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe"))
    assert shown(typed, "put", "-")["content"] == "from a pipe"
    code, _, errors = typed("put", "")
    assert (code, "/content: wanted 1 to 32768 bytes" in errors) == (1, True)
    code, _, errors = typed("put", "x", "--file", "y")
    assert (code, "one of them" in errors) == (2, True)
    code, _, errors = typed("put", "x", "--new")
    assert (code, "--id" in errors) == (2, True)


def test_what_became_of_memories_is_told_and_undone(typed: Typed) -> None:
    typed("put", "one", "--id", "a")
    typed("put", "two", "--id", "a")
    assert typed("delete", "a", "--yes")[0] == 0
    told = shown(typed, "changes")
    assert [(one["op"], one["version"]) for one in told["changes"]] == [("create", 1), ("update", 2), ("delete", 3)]
    assert shown(typed, "changes", "--since", str(told["next_since"]))["changes"] == []
    assert "delete" in typed("changes", "--limit", "3")[1]
    code, _, errors = typed("restore", "a", "--version", "1", "--if-version", "9")
    assert (code, "wanted 9" in errors) == (4, True)
    assert shown(typed, "restore", "a", "--version", "1")["content"] == "one"
    assert "one" in typed("get", "a")[1]


def test_changes_are_followed_as_they_come(grid: RunningGrid) -> None:
    name = "followed"
    command = (str(RAGRID), "memory", "changes", "--follow", "--json", "-n", name, "--state", str(grid.state))
    grid.ok("memory", "put", "first", "--id", "a", "-n", name)
    with subprocess.Popen(command, env=grid.environment, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            assert json.loads(following.stdout.readline())["memory"]["content"] == "first"
            grid.ok("memory", "put", "second", "--id", "a", "-n", name)
            assert json.loads(following.stdout.readline())["memory"]["content"] == "second"
        finally:
            following.send_signal(signal.SIGINT)
            assert following.wait(30) == 130
    listed = grid.json("memory", "namespaces")["namespaces"]
    assert [one["memories"] for one in listed if one["name"] == name] == [1]


def test_a_token_for_one_user_sees_that_users_memories_alone(grid: RunningGrid) -> None:
    for user in ("ada", "bob"):
        grid.ok("memory", "put", f"of {user}", "--id", user, "--user", user, "-n", "users")
    token = grid.ok("token", "issue", "--role", "reader", "--memory-user", "ada", "--memory-namespace", "use*").strip()
    with grid.client(token) as client:
        listed = client.get("/memory/v1/memories").json()
        assert listed["code"] == "namespace-not-found"
        found = client.get("/memory/v1/memories", params={"namespace": "users"}).json()["memories"]
        assert [one["id"] for one in found] == ["ada"]
        assert client.get("/memory/v1/memories/bob", params={"namespace": "users"}).status_code == 404
        assert client.get("/memory/v1/changes", params={"namespace": "users"}).json()["code"] == "token-confined"


def test_what_is_exported_is_imported(typed: Typed, tmp_path: Path) -> None:
    typed("put", "one", "--id", "a")
    typed("put", "two", "--id", "a")
    file = tmp_path / "memory.ndjson"
    assert shown(typed, "export", str(file)) == {"file": str(file), "lines": 4}
    assert [one.name for one in tmp_path.iterdir()] == ["memory.ndjson"]
    assert shown(typed, "import", str(file))["unchanged"] == 2
    cut = tmp_path / "cut.ndjson"
    cut.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    code, _, errors = typed("import", str(cut))
    assert (code, "0 with faults" in errors, "cut off" in errors) == (6, True, True)
    typed("put", "three", "--id", "a")
    file.write_text(file.read_text().replace('"id":"a"', '"id":"b"') + "nonsense\n")
    code, _, errors = typed("import", str(file))
    assert (code, "line 5" in errors, "2 imported" in errors, "cut off" in errors) == (6, True, True, True)
    assert [one["version"] for one in shown(typed, "history", "b")["events"]] == [2, 1]
    code, _, errors = typed("import", str(tmp_path / "none"))
    assert (code, "No such file" in errors) == (2, True)


def test_a_backup_is_made_of_a_grid_that_serves(grid: RunningGrid) -> None:
    grid.ok("memory", "put", "worth keeping", "-n", "backup")
    job = grid.json("memory", "backup")
    assert (job["kind"], job["state"]) == ("backup", "done")
    file = grid.state / "data" / "memory" / "backups" / job["result"]["name"]
    assert file.stat().st_size == job["result"]["bytes"]
    assert grid.ok("memory", "backup").endswith(".db\n")
