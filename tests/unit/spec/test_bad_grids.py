"""Every fault has a bad file and its exact message: tests/golden/spec/bad/NAME.yaml and NAME.txt.

To write the messages anew after a change, run `python tests/unit/spec/test_bad_grids.py`, and read the difference.
"""

import functools
from pathlib import Path

import pytest

from ragrid.errors import SpecError
from ragrid.spec.load import load_grid_text

BAD = Path(__file__).parents[2] / "golden" / "spec" / "bad"
CASES = sorted(path.stem for path in BAD.glob("*.yaml"))


@functools.cache
def messages(case: str) -> str:
    text = (BAD / f"{case}.yaml").read_bytes().decode()
    try:
        load_grid_text(text, "grid.yaml")
    except SpecError as error:
        return "\n".join(error.faults) + "\n"
    return "it loaded\n"


@pytest.mark.parametrize("case", CASES)
def test_a_bad_grid_gets_its_exact_message(case: str) -> None:
    assert messages(case) == (BAD / f"{case}.txt").read_text()


def test_a_message_says_where_what_wanted_and_what_next() -> None:
    for line in (
        line for case in CASES for line in messages(case).splitlines() if not line.endswith(" mend these first")
    ):
        place, _, rest = line.partition(": ")
        name, row, column = place.split(":")
        assert (name, int(row) >= 1, int(column) >= 1) == ("grid.yaml", True, True), line
        assert ("got " in rest, ", wanted " in rest, "; " in rest) == (True, True, True), line


def test_a_secret_given_literally_is_never_repeated() -> None:
    holding = [case for case in CASES if "hunter2" in (BAD / f"{case}.yaml").read_bytes().decode()]
    assert len(holding) >= 5
    assert [case for case in holding if "hunter2" in messages(case)] == []


def test_faults_come_in_file_order() -> None:
    for case in CASES:
        places = [tuple(map(int, line.split(":")[1:3])) for line in messages(case).splitlines() if ": and " not in line]
        assert places == sorted(places), case


if __name__ == "__main__":
    for each in CASES:
        (BAD / f"{each}.txt").write_text(messages(each))
