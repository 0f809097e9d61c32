"""Ids that the service gives: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

import os


def new_id(at_us: int) -> str:
    """Return a new UUIDv7 for microseconds since the Unix epoch; 62 bits of it are random."""
    return uuid7(at_us, int.from_bytes(os.urandom(8), "big"))


def uuid7(at_us: int, random_bits: int) -> str:
    """Return the UUIDv7 of a time and 62 random bits; the 12 bits after the version hold the part of a millisecond."""
    milliseconds, rest_us = divmod(at_us, 1000)
    fraction = rest_us * 4096 // 1000
    number = (
        (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    )
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
