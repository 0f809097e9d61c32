"""Durations, percentages, rates, times of day, references."""

import pytest

from ragrid.spec.values import Duration, Percentage, Rate, SecretReference, TimeOfDay


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("5s", 5), ("10m", 600), ("24h", 86_400), ("7d", 604_800), ("1.5h", 5400)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == pytest.approx(seconds)
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "10 m", "10M", "1h30m", "0s", "٣m", "1e3s", "9999999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a"):
        Duration.parse(text)


@pytest.mark.parametrize(("text", "ratio"), [("0%", 0), ("99.9%", 0.999), ("100%", 1)])
def test_a_percentage_is_a_share_of_the_whole(text: str, ratio: float) -> None:
    assert Percentage.parse(text).ratio == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["80", "100.1%", "-1%", "%", "80 %"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        Percentage.parse(text)


@pytest.mark.parametrize(("text", "per_second"), [("1000/s", 1000), ("60/m", 1), ("3600/h", 1)])
def test_a_rate_counts_for_a_second(text: str, per_second: float) -> None:
    assert Rate.parse(text).per_second == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["1000", "0/s", "1/d", "/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        Rate.parse(text)


@pytest.mark.parametrize("text", ["00:00", "02:30", "23:59"])
def test_a_time_of_day_is_written_as_it_was_read(text: str) -> None:
    assert str(TimeOfDay.parse(text)) == text


@pytest.mark.parametrize("text", ["24:00", "2:30", "02:60", "02:30:00", "0230"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write hours"):
        TimeOfDay.parse(text)


@pytest.mark.parametrize("text", ["env:ALERT_WEBHOOK", "file:/run/secrets/key", "file:secrets/key"])
def test_a_reference_is_written_as_it_was_read(text: str) -> None:
    assert str(SecretReference.parse(text)) == text


@pytest.mark.parametrize("text", ["hunter2", "env:", "env:1A", "env:A B", "file:", "ENV:A", "vault:a", "https://x/y"])
def test_what_is_no_reference_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="put the secret into a file") as caught:
        SecretReference.parse(text)
    assert text not in str(caught.value).replace("env:NAME", "").replace("file:PATH", "")
