"""Every fault has a bad file and its exact message: tests/golden/spec/bad/NAME.yaml and NAME.txt.

To write the messages anew after a change, run `python tests/unit/spec/test_bad_grids.py`, and read the difference.
"""

from pathlib import Path

import pytest

from ragrid.errors import SpecError
from ragrid.spec.load import load_grid_text

BAD = Path(__file__).parents[2] / "golden" / "spec" / "bad"
CASES = sorted(path.stem for path in BAD.glob("*.yaml"))


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


@pytest.mark.parametrize("case", CASES)
def test_a_message_says_where_what_wanted_and_what_next(case: str) -> None:
    for line in messages(case).splitlines():
        if line.endswith("more; mend these first"):
            continue
        place, _, rest = line.partition(": ")
        name, row, column = place.split(":")
        assert name == "grid.yaml"
        assert int(row) >= 1
        assert int(column) >= 1
        assert ("got " in rest, ", wanted " in rest, "; " in rest) == (True, True, True)


@pytest.mark.parametrize("case", CASES)
def test_a_secret_given_literally_is_never_repeated(case: str) -> None:
    assert "hunter2" not in messages(case)


def test_the_secret_is_really_in_the_files_that_the_test_above_reads() -> None:
    assert sum("hunter2" in (BAD / f"{case}.yaml").read_bytes().decode() for case in CASES) >= 5


@pytest.mark.parametrize("case", CASES)
def test_faults_come_in_file_order(case: str) -> None:
    places = [tuple(map(int, line.split(":")[1:3])) for line in messages(case).splitlines() if ": and " not in line]
    assert places == sorted(places)


if __name__ == "__main__":
    for each in CASES:
        (BAD / f"{each}.txt").write_text(messages(each))
