"""Good claims in other spellings, under signatures that are none, and in other shapes; for `crafted_tokens`."""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwk, jws

from ragrid.identity.strict import decode_base64url, encode_base64url
from ragrid.identity.verify import TOKEN_LIMIT_CHARACTERS
from support.token_mint import TokenMint

#: The order of the group of P-256 (FIPS 186-5): as r or s of a signature it stands for zero.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def spellings(mint: TokenMint) -> dict[str, str]:
    """Other spellings of a good token's bytes; the first ones are signed as they stand."""
    token = mint.token()
    header, payload, signature = token.split(".")
    odd_header = encode_base64url(_of_length(json.dumps(mint.header()).encode(), remainder=1))
    odd_payload = encode_base64url(_of_length(json.dumps(mint.claims()).encode(), remainder=2))
    plain = base64.b64encode(_with_a_plus(json.dumps(mint.claims()))).rstrip(b"=").decode()
    return {
        "header with spare bits": mint.signed(f"{_respelled(odd_header)}.{payload}"),
        "payload with spare bits": mint.signed(f"{header}.{_respelled(odd_payload)}"),
        "header padded": mint.signed(f"{odd_header}==.{payload}"),
        "payload padded": mint.signed(f"{header}.{odd_payload}="),
        "payload in the plain alphabet": mint.signed(f"{header}.{plain}"),
        "payload with a line break": mint.signed(f"{header}.{payload[:9]}\n{payload[9:]}"),
        "payload with one character too many": mint.signed(f"{header}.{_of_one_more(payload)}"),
        "signature with spare bits": f"{header}.{payload}.{_respelled(signature)}",
        "signature padded": f"{token}==",
        "signature padded once": f"{token}=",
        "signature, and more behind its padding": f"{token}==AAAA",
        "signature in the plain alphabet": f"{header}.{payload}.+/{signature[2:]}",
        "signature not ASCII": f"{header}.{payload}.{signature[:-1]}é",
        "signature with a digit of another script": f"{header}.{payload}.{signature[:-1]}٣",
        "a line break behind": f"{token}\n",
        "a NUL behind": f"{token}\0",
        "a space in front": f" {token}",
        "a space behind": f"{token} ",
        "a comma and another": f"{token},{token}",
        "a space and another": f"{token} {token}",
    }


def wrong_signatures(mint: TokenMint) -> dict[str, str]:
    """The same good claims under signatures that are none."""
    signed, _, signature = mint.token().rpartition(".")
    r, s = (decode_base64url(signature)[:32], decode_base64url(signature)[32:])
    zero, order = bytes(32), P256_ORDER.to_bytes(32, "big")
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    raw: dict[str, bytes] = {
        "of zeros": zero + zero,
        "r is zero": zero + s,
        "s is zero": r + zero,
        "r is the order": order + s,
        "s is the order": r + order,
        "both are the order": order + order,
        "both are one": (1).to_bytes(32, "big") * 2,
        "all bits set": b"\xff" * 64,
        "r and s exchanged": s + r,
        "in DER": der,
        "a byte more": r + s + b"\0",
        "a byte more in front": b"\0" + r + s,
        "a byte less": (r + s)[:-1],
        "wide r and s": b"\0" * 16 + r + b"\0" * 16 + s,
        "only r": r,
        "twice": (r + s) * 2,
    }
    stranger, evil = TokenMint(issuer=mint.issuer, audience=mint.audience, clock=mint.clock), json.dumps(mint.claims())
    embedded = json.dumps({**mint.header(), "jwk": stranger.public})
    elsewhere = json.dumps({**stranger.header(), "jku": "https://evil.test/jwks.json"})
    return {
        **{name: f"{signed}.{encode_base64url(content)}" for name, content in raw.items()},
        "of other claims": _exchanged(mint),
        "of another key": stranger.token(),
        "of another key under our name": stranger.raw(json.dumps(mint.header()), evil),
        "of a key that it brings along": stranger.raw(embedded, evil),
        "of a key that it brings along and names": stranger.raw(json.dumps({**stranger.header(), "jwk": {}}), evil),
        "of a key at an address that it names": stranger.raw(elsewhere, evil),
        "of a larger curve": _by_curve(mint, "P-384", "ES384"),
        "of the largest curve": _by_curve(mint, "P-521", "ES512"),
        "of RSA": _stranger("RS256").raw(json.dumps(mint.header(alg="RS256")), evil),
        "of Ed25519": _stranger("Ed25519").raw(json.dumps(mint.header(alg="Ed25519")), evil),
        "HS256 with the public key's JSON": _mac(mint, json.dumps(mint.public).encode()),
        "HS256 with the public key's PEM": _mac(mint, mint.public_pem),
        "HS256 with the public key's DER": _mac(mint, mint.key.as_der(private=False)),
        "HS256 with the key's name": _mac(mint, mint.kid.encode()),
        "HS256 with nothing": _mac(mint, b""),
        "HS384 with the public key's PEM": _mac(mint, mint.public_pem, "HS384", hashlib.sha384),
        "HS512 with the public key's PEM": _mac(mint, mint.public_pem, "HS512", hashlib.sha512),
    }


def shapes(mint: TokenMint) -> dict[str, str]:
    token = mint.token()
    header, payload, signature = token.split(".")
    unsigned = encode_base64url(json.dumps({"alg": "none"}).encode())
    named_none = encode_base64url(json.dumps(mint.header(alg="none")).encode())
    flattened = {"protected": header, "payload": payload, "signature": signature}
    return {
        "empty": "",
        "one word": "x",
        "two parts": f"{header}.{payload}",
        "four parts": f"{token}.x",
        "five parts, as if encrypted": f"{header}.{payload}.{signature}.{signature}.{signature}",
        "a dot behind": f"{token}.",
        "a dot in front": f".{token}",
        "no payload": f"{header}..{signature}",
        "no header": f".{payload}.{signature}",
        "only dots": "..",
        "no signature": f"{header}.{payload}.",
        "none without a signature": f"{named_none}.{payload}.",
        "none with a signature": f"{named_none}.{payload}.{signature}",
        "none and nothing else": f"{unsigned}.{payload}.",
        "as JSON": json.dumps(flattened, separators=(",", ":")),
        "in quotes": f'"{token}"',
        "with its scheme": f"Bearer {token}",
        "too long": f"{header}.{payload}.{'A' * TOKEN_LIMIT_CHARACTERS}",
        "not base64": "!!!.???.***",
        "header and payload exchanged": f"{payload}.{header}.{signature}",
    }


@functools.cache
def _stranger(algorithm: str) -> TokenMint:
    """Somebody with a key that nobody trusts; an RSA key takes a while to make."""
    return TokenMint(algorithm)


def _exchanged(mint: TokenMint) -> str:
    header, _, signature = mint.token().split(".")
    raised = mint.claims(sub="root", roles=["admin"])
    return f"{header}.{encode_base64url(json.dumps(raised).encode())}.{signature}"


def _by_curve(mint: TokenMint, curve: str, algorithm: str) -> str:
    """Our key's name over another curve's signature, with the algorithm that fits it."""
    key = jwk.ECKey.generate_key(curve)
    registry = jws.JWSRegistry(algorithms=[algorithm])
    return jws.serialize_compact(mint.header(alg=algorithm), json.dumps(mint.claims()), key, registry=registry)


def _mac(mint: TokenMint, secret: bytes, name: str = "HS256", digest: Callable[..., Any] = hashlib.sha256) -> str:
    """The classic confusion: the public key used as a shared secret."""
    parts = (json.dumps(mint.header(alg=name)), json.dumps(mint.claims()))
    signed = ".".join(encode_base64url(part.encode()) for part in parts)
    return f"{signed}.{encode_base64url(hmac.digest(secret, signed.encode(), digest))}"


def _respelled(encoded: str) -> str:
    """The same bytes with other spare bits in the last character."""
    return encoded[:-1] + ALPHABET[ALPHABET.index(encoded[-1]) ^ 1]


def _of_length(text: bytes, *, remainder: int) -> bytes:
    """`text` with blanks behind, so that its last base64 character has bits to spare."""
    return text + b" " * ((remainder - len(text)) % 3)


def _with_a_plus(claims: str) -> bytes:
    """`claims` with a member whose base64 has characters in which the two alphabets differ."""
    text = claims[:-1] + ', "x": "'
    return (text + " " * (-len(text) % 3) + '~~>>~~??"}').encode()


def _of_one_more(encoded: str) -> str:
    """`encoded` with as many characters as no number of bytes has."""
    return encoded + "A" * ((1 - len(encoded)) % 4 or 4)
