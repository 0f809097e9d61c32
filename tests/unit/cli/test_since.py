import pytest

from ragrid.cli.audit import since_time_s
from ragrid.errors import UsageError


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("10m", 1_800_000_000 - 600),
        ("90d", 1_800_000_000 - 90 * 86_400),
        ("999999d", 0),
        ("2027-01-15", 1_799_971_200),
        ("2027-01-15T08:00Z", 1_800_000_000),
        ("2027-01-15T09:00+01:00", 1_800_000_000),
    ],
)
def test_a_duration_or_a_time(text: str, time_s: float) -> None:
    assert since_time_s(text, now_s=1_800_000_000) == time_s


@pytest.mark.parametrize("text", ["", "yesterday", "-5m", "5", "2027-13-01"])
def test_anything_else_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(UsageError, match="wanted a duration such as `10m`"):
        since_time_s(text, now_s=1_800_000_000)
