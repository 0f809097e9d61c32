"""Which grid file is meant when nobody names one."""

import json
from pathlib import Path

import pytest

from ragrid.cli.context import grid_file_of
from ragrid.cli.main import run
from ragrid.drivers.local.layout import open_layout

GRID = "grid: {name}\nhosts: {{sark: {{lan: 127.0.0.1}}}}\nservices: {{memory: {{}}}}\n"


@pytest.fixture
def here(short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path))
    monkeypatch.delenv("RAGRID_STATE", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def start(home: Path, name: str) -> Path:
    """What `ragrid up` leaves of a grid."""
    layout = open_layout(home / "ragrid" / name, name)
    layout.grid_file.write_text(GRID.format(name=name))
    return layout.grid_file


def test_the_file_in_this_folder_comes_before_the_grid_that_was_started(here: Path, short_path: Path) -> None:
    assert grid_file_of(None) == Path("grid.yaml"), "nothing is there: the message names what was looked for"
    started = start(short_path, "one")
    assert grid_file_of(None) == started
    (here / "grid.yaml").write_text(GRID.format(name="own"))
    assert grid_file_of(None) == Path("grid.yaml")
    assert grid_file_of(started) == started


def test_config_and_render_show_the_grid_that_was_started(
    here: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "show"]) == 3
    assert "grid.yaml: got no such file" in capsys.readouterr().err
    started = start(short_path, "one")
    assert run(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["grid_file"] == str(started)
    assert {"key": "grid", "value": "one", "origin": f"{started}:1:7"} in shown["values"]
    assert run(["render", "out", "--json"]) == 0
    assert "sark/etc/memory.json" in json.loads(capsys.readouterr().out)["files"]
    assert (here / "out" / "sark" / "etc" / "memory.json").exists()


def test_a_folder_that_cannot_be_made_is_named_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid.yaml").write_text(GRID.format(name="one"))
    (here / "file").write_text("no folder")
    assert run(["render", "file/out"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "file/out" in told
    assert told.count("\n") == 1
