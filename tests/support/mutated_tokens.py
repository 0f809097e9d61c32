"""Tokens that are nearly good: rightly signed, with a few bytes of header or claims changed at random."""

import json
import random
from collections.abc import Iterator

from support.token_mint import TokenMint

#: What JSON, UTF-8 and numbers go wrong with.
PIECES = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"1e5", b".", b"e", b"null", b"true", b"NaN", b"/"),
    *(b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"\\x", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"\n", b"\t", b" ", b"\x00", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"{}", b"[]", b"01", b"-0"),
    *(b'"sub":"x",', b'"exp":1e999,', b'"aud":"memory",', b'"alg":"none",', b"1E+2"),
)
#: Far from now: a changed digit makes no time that one verifier reads a moment before another.
TIMES = {"iat": 1_600_000_000, "exp": 4_000_000_000}


def mutated_tokens(mint: TokenMint, chance: random.Random, count: int) -> Iterator[str]:
    """Yield `count` of them; about one in ten is still good."""
    for _ in range(count):
        header = json.dumps(mint.header()).encode()
        known = mint.claims(**TIMES, x=[1, {"a": "é"}]) if chance.random() < 0.5 else mint.claims(**TIMES)
        claims = json.dumps(known, ensure_ascii=chance.random() < 0.5).encode()
        if chance.random() < 0.25:
            yield mint.raw(_mutated(header, chance), claims)
        else:
            yield mint.raw(header, _mutated(claims, chance))


def _mutated(text: bytes, chance: random.Random) -> bytes:
    content = bytearray(text)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at, other = chance.randrange(len(content)), chance.randrange(len(content))
        match chance.randrange(5):
            case 0:
                content[at:at] = chance.choice(PIECES)
            case 1:
                del content[at : at + chance.choice((1, 1, 2, 5))]
            case 2:
                content[at] = chance.randrange(256)
            case 3:
                content[at] ^= 1 << chance.randrange(8)
            case _:
                content[at:at] = content[min(at, other) : max(at, other)][:60]
    return bytes(content)
