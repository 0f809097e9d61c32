"""Ids that the service gives: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

import os

_ID_BYTES = 8
#: Ids for which randomness is fetched at once: each call to the kernel lets go of the interpreter's lock, and waits.
_AT_ONCE = 512


class IdSource:
    """Gives ids. Not thread-safe: one for each event loop."""

    def __init__(self) -> None:
        self._random = b""
        self._used = 0

    def new(self, at_us: int) -> str:
        """Return a new UUIDv7 for microseconds since the Unix epoch; 62 bits of it are random."""
        if self._used >= len(self._random):
            self._random, self._used = os.urandom(_ID_BYTES * _AT_ONCE), 0
        start, self._used = self._used, self._used + _ID_BYTES
        return uuid7(at_us, int.from_bytes(self._random[start : self._used], "big"))


def uuid7(at_us: int, random_bits: int) -> str:
    """Return the UUIDv7 of a time and 62 random bits; the 12 bits after the version hold the part of a millisecond."""
    milliseconds, rest_us = divmod(at_us, 1000)
    fraction = rest_us * 4096 // 1000
    number = (
        (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    )
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
