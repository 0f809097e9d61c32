"""What is shown of the log of a part that does not start."""

from pathlib import Path

from ragrid.apply.gates import log_end


def test_the_last_lines_are_shown_as_lines_and_not_too_much_of_them(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(b"old\n" * 5000 + b"Traceback:\n  File\n\xff" + b"x" * 1000 + b"\nFileNotFoundError: chroma\n\n")
    shown = list(log_end(log))
    assert len(shown) == 5
    assert shown[-1] == "  | FileNotFoundError: chroma"
    assert max(map(len, shown)) <= 204


def test_a_log_that_is_not_there_hides_no_error(tmp_path: Path) -> None:
    assert list(log_end(tmp_path / "none.log")) == ["  | No such file or directory"]
