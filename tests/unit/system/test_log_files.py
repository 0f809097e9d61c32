"""Logs stay bounded, and nobody who writes them notices."""

from pathlib import Path

from ragrid.system.log_files import trim, trim_all


def test_a_large_log_is_moved_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 101)
        assert trim(log, limit_bytes=100)
        writer.write(b"next")
    assert (log.with_name("part.log.1").read_bytes(), log.read_bytes()) == (b"x" * 101, b"next")


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(b"x" * 100)
    assert not trim(log, limit_bytes=100)
    assert [path.name for path in tmp_path.iterdir()] == ["part.log"]


def test_every_log_of_a_folder_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.txt"):
        (tmp_path / name).write_bytes(b"x" * 10)
    assert trim_all(tmp_path, limit_bytes=5) == ("a.log", "b.log")
    assert (tmp_path / "c.txt").read_bytes() == b"x" * 10


def test_a_log_that_went_away_is_no_error(tmp_path: Path) -> None:
    assert not trim(tmp_path / "none.log")
