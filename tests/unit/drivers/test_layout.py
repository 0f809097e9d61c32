"""The state directory: ours is opened, anything else is refused and left as it is."""

import json
from pathlib import Path

import pytest

from ragrid.drivers.local.layout import MARKER, existing_layout, open_layout, read_marker
from ragrid.drivers.local.locate import locate
from ragrid.errors import StateError, UsageError


def test_a_new_directory_is_made_private_and_opened_again(short_path: Path) -> None:
    layout = open_layout(short_path / "state", "tron")
    assert layout.secrets.stat().st_mode & 0o777 == 0o700
    assert read_marker(layout.marker) == "tron"
    assert open_layout(layout.root, "tron") == layout


def test_looking_makes_nothing(short_path: Path) -> None:
    assert existing_layout(short_path / "state", "tron").root == short_path / "state"
    assert list(short_path.iterdir()) == []


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (b"", "cannot be read as a state marker"),
        (b"\xff\x00", "cannot be read as a state marker"),
        (b"[]", "cannot be read as a state marker"),
        (b'{"format": 99, "grid": "tron"}', "got format 99, wanted 1"),
        (b'{"format": 1, "grid": "other"}', "got the state of grid 'other', wanted 'tron'"),
    ],
)
def test_a_corrupt_or_foreign_marker_is_refused_and_kept(short_path: Path, marker: bytes, said: str) -> None:
    (short_path / MARKER).write_bytes(marker)
    with pytest.raises(StateError, match=said) as refused:
        open_layout(short_path, "tron")
    assert "nothing was changed" in str(refused.value)
    assert [entry.name for entry in short_path.iterdir()] == [MARKER]
    assert (short_path / MARKER).read_bytes() == marker


def test_a_directory_of_somebody_else_is_refused(short_path: Path) -> None:
    (short_path / "thesis.tex").write_text("chapter 1")
    with pytest.raises(StateError, match=r"holds thesis\.tex"):
        open_layout(short_path, "tron")
    assert [entry.name for entry in short_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(short_path: Path) -> None:
    (short_path / "state").write_text("")
    with pytest.raises(StateError, match="got a file, wanted a directory"):
        open_layout(short_path / "state", "tron")


def test_a_path_that_no_socket_fits_into_is_refused(short_path: Path) -> None:
    with pytest.raises(UsageError, match="choose a shorter one"):
        open_layout(short_path / ("x" * 90), "tron")


def test_the_only_grid_of_a_user_is_meant_without_naming_it(short_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(short_path)}
    with pytest.raises(UsageError, match="no grid was started yet"):
        locate(None, environment)
    open_layout(short_path / "ragrid" / "one", "one")
    assert locate(None, environment).root == short_path / "ragrid" / "one"
    open_layout(short_path / "ragrid" / "two", "two")
    with pytest.raises(UsageError, match="wanted one of the 2 grids"):
        locate(None, environment)
    assert locate(None, {**environment, "RAGRID_STATE": str(short_path / "ragrid" / "two")}).root.name == "two"


def test_a_named_directory_without_a_grid_is_refused(short_path: Path) -> None:
    with pytest.raises(UsageError, match="got no grid here"):
        locate(short_path, {})


def test_the_marker_says_the_format(short_path: Path) -> None:
    layout = open_layout(short_path, "tron")
    assert json.loads(layout.marker.read_text()) == {"format": 1, "grid": "tron"}
