"""A certificate of one's own is looked at before it is shown to anybody."""

import pytest

from ragrid.system.certificates import KeyPair, check_pair, make_authority, make_leaf

NOW_S = 1_800_000_000.0
AUTHORITY = make_authority("tests", now_s=NOW_S)
PAIR = make_leaf(AUTHORITY, "edge", ["grid.test", "*.wild.test", "192.168.1.1"], now_s=NOW_S)


@pytest.mark.parametrize("name", ["grid.test", "GRID.test", "one.wild.test", "192.168.1.1"])
def test_a_good_pair_passes_for_each_of_its_names(name: str) -> None:
    check_pair(PAIR, name=name, now_s=NOW_S)


@pytest.mark.parametrize("name", ["other.test", "wild.test", "a.b.wild.test", "192.168.1.2", "xgrid.test"])
def test_a_name_that_it_does_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"for other names, wanted one for '{name}'"):
        check_pair(PAIR, name=name, now_s=NOW_S)


@pytest.mark.parametrize("days", [-1, 398])
def test_before_and_after_its_time_it_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="wanted one that is good now"):
        check_pair(PAIR, name="grid.test", now_s=NOW_S + days * 86_400)


def test_halves_that_do_not_fit_are_refused() -> None:
    other = make_leaf(AUTHORITY, "edge", ["grid.test"], now_s=NOW_S)
    for pair, message in (
        (KeyPair(PAIR.certificate, other.key), "another certificate"),
        (KeyPair(b"", PAIR.key), "no certificate"),
        (KeyPair(PAIR.certificate, b"-----BEGIN PRIVATE KEY-----\n"), "no private key"),
    ):
        with pytest.raises(ValueError, match=message):
            check_pair(pair, name="grid.test", now_s=NOW_S)
