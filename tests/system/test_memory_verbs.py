"""`ragrid memory` as a user types it, through the gateway."""

import json
import subprocess
from pathlib import Path

from support.running_grid import RAGRID, RunningGrid


def test_a_memory_is_kept_found_changed_and_deleted(grid: RunningGrid, tmp_path: Path) -> None:
    within = ("-n", f"verbs-{tmp_path.name}")
    options = ("--id", "tea", "--user", "ada", "--tag", "drink", "--metadata", "cups=2", "--ttl", "1h", "--new")
    assert grid.ok("memory", "put", "Ada drinks green tea", *options, *within) == "tea\n"
    kept = grid.json("memory", "get", "tea", *within)
    assert (kept["version"], kept["metadata"], kept["expires_at"] is None) == (1, {"cups": 2}, False)
    assert "Ada drinks green tea" in grid.ok("memory", "get", "tea", *within)

    again = grid.cli("memory", "put", "x", "--id", "tea", "--new", *within)
    assert (again.returncode, "412: the memory exists (version 1)" in again.stderr) == (4, True)

    file = tmp_path / "plan.md"
    file.write_text("# Plan\n\nBrew more tea.\n")
    plan = grid.json("memory", "put", "--file", str(file), "--type", "procedural", *within)
    assert (plan["content"], plan["type"]) == (file.read_text(), "procedural")
    assert [one["id"] for one in grid.json("memory", "list", *within)["memories"]] == [plan["id"], "tea"]
    assert [one["id"] for one in grid.json("memory", "list", "--user", "ada", *within)["memories"]] == ["tea"]
    limited = grid.json("memory", "list", "--limit", "1", *within)
    assert (len(limited["memories"]), limited["is_complete"]) == (1, False)
    assert "1.00" in grid.ok("memory", "search", "green tea?", "-k", "1", *within)
    found = grid.json("memory", "search", "tea", "--tag", "drink", *within)
    assert [one["memory"]["id"] for one in found["results"]] == ["tea"]

    assert grid.cli("memory", "delete", "tea", *within).returncode == 130, "it asks, and nobody answered"
    stale = grid.cli("memory", "delete", "tea", "--if-version", "7", "--yes", *within)
    assert (stale.returncode, "wanted 7" in stale.stderr) == (4, True)
    assert grid.json("memory", "delete", "tea", "--yes", *within) == {"id": "tea", "deleted": True}
    gone = grid.cli("memory", "get", "tea", *within)
    assert (gone.returncode, "no memory 'tea'" in gone.stderr) == (1, True)
    history = grid.json("memory", "history", "tea", *within)["events"]
    assert [(one["op"], one["version"]) for one in history] == [("delete", 2), ("create", 1)]


def test_standard_input_is_content_and_slips_are_named(grid: RunningGrid, tmp_path: Path) -> None:
    command = (str(RAGRID), "memory", "put", "-", "-n", f"input-{tmp_path.name}", "--json")
    done = subprocess.run(
        command, env=grid.environment, input="from a pipe", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["content"] == "from a pipe"
    empty = grid.cli("memory", "put", "", "-n", f"input-{tmp_path.name}")
    assert (empty.returncode, "/content: wanted 1 to 32768 bytes" in empty.stderr) == (1, True)
    both = grid.cli("memory", "put", "x", "--file", "y")
    assert (both.returncode, "one of them" in both.stderr) == (2, True)
