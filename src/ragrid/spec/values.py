"""The values that a grid file writes as text: durations, percentages, rates, times of day, references to secrets.

Each keeps the text it was written as, so that what is shown is what was declared. `parse` raises ValueError whose
message is advice: the next thing to type. It never repeats a secret.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)/(s|m|h)")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time greater than zero, such as `10m`."""

    text: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the duration that `text` writes: a number and one of ms, s, m, h, d."""
        match = _DURATION.fullmatch(text)
        if match is None:
            raise ValueError("write a number and its unit, for example `10m`")
        seconds = float(match[1]) * _UNITS_S[match[2]]
        if seconds <= 0:
            raise ValueError("write a duration greater than zero")
        return cls(text, seconds)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Percentage:
    """A share of the whole, `0%` to `100%`; `ratio` is 0 to 1."""

    text: str
    ratio: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the share that `text` writes, a number and `%`."""
        match = _PERCENTAGE.fullmatch(text)
        if match is None:
            raise ValueError("write a number and its sign, for example `80%`")
        if float(match[1]) > 100:
            raise ValueError("write at most `100%`")
        return cls(text, float(match[1]) / 100)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, such as `1000/s`."""

    text: str
    per_second: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rate that `text` writes: a number, `/`, and one of s, m, h."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("write a number and its unit, for example `1000/s`")
        if float(match[1]) <= 0:
            raise ValueError("write a rate greater than zero")
        return cls(text, float(match[1]) / _UNITS_S[match[2]])

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of the day on the host's clock, `00:00` to `23:59`."""

    hour: int
    minute: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the time that `text` writes as `HH:MM`."""
        match = _TIME_OF_DAY.fullmatch(text)
        if match is None:
            raise ValueError('write hours and minutes, for example `"02:30"`')
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.hour:02}:{self.minute:02}"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret lies: `env:NAME` or `file:PATH`. Never the secret itself, so it may be shown."""

    kind: Literal["env", "file"]
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the reference that `text` writes."""
        kind, _, name = text.partition(":")
        if kind == "env" and _ENVIRONMENT_NAME.fullmatch(name):
            return cls("env", name)
        if kind == "file" and name and "\0" not in name and not name.startswith("//"):
            return cls("file", name)
        raise ValueError(
            "put the secret into a file of mode 0600 or an environment variable, write `file:PATH` or `env:NAME` here, "
            "and change the secret if this file was shared"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"
