"""Tokens that nobody may accept (RFC 8725 and what else attackers try), each with a name: one table for every verifier.

Most carry a right signature of the grid's own key: whoever checks the signature alone lets them through.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwk, jws

from ragrid.identity.strict import decode_base64url, encode_base64url
from ragrid.identity.verify import TOKEN_LIMIT_CHARACTERS
from support.token_mint import TokenMint

#: The order of the group of P-256 (FIPS 186-5): as r or s of a signature it stands for zero.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HOUR_S = 3600
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def crafted_tokens(mint: TokenMint) -> dict[str, str]:
    """Every crafted token by its name, for a verifier that trusts `mint` (ES256) alone."""
    header, claims = json.dumps(mint.header()), json.dumps(mint.claims())
    return {
        **{f"claims: {name}": mint.token(**changes) for name, changes in _claims(mint).items()},
        **{f"header: {name}": _with_header(mint, changes) for name, changes in _headers(mint).items()},
        **{f"header text: {name}": mint.raw(text, claims) for name, text in _header_texts(header).items()},
        **{f"claims text: {name}": mint.raw(header, text) for name, text in _claims_texts(mint, claims).items()},
        **{f"numbers: {name}": mint.raw(header, text) for name, text in _numbers(mint, claims)},
        **{f"encoding: {name}": token for name, token in _encodings(mint).items()},
        **{f"signature: {name}": token for name, token in _signatures(mint).items()},
        **{f"shape: {name}": token for name, token in _shapes(mint).items()},
    }


def good_tokens(mint: TokenMint) -> dict[str, str]:
    """Tokens that look unusual and are good: a verifier that refuses everything would pass the other table."""
    header, claims, now_s = json.dumps(mint.header()), json.dumps(mint.claims()), int(mint.clock.now_s())
    changed: dict[str, dict[str, Any]] = {
        "expiry as a float": {"exp": now_s + 600.5},
        "not before now": {"nbf": now_s},
        "no roles": {"roles": ...},
        "no scope": {"scope": ...},
        "claims that nobody knows": {"colour": "blue", "deep": [{"a": [1, -2.5e3, True, None, {}]}, {"a": []}]},
        "an issuer's own name in another claim": {"x": {"iss": "https://other.test", "alg": "none"}},
    }
    texts: dict[str, str | bytes] = {
        "plain": claims,
        "with blanks": json.dumps(mint.claims(), indent=2) + "\r\n\t ",
        "with escapes": claims.replace("ada", "\\u0061d\\u0061", 1)[:-1]
        + ', "\\ud83d\\ude00": "\\"\\\\\\/\\b\\f\\n\\r\\t"}',
        "in any script": claims[:-1] + ', "größe": "Ⅷ😀"}',
    }
    return {
        **{name: mint.token(**changes) for name, changes in changed.items()},
        **{name: mint.raw(header, text) for name, text in texts.items()},
        "type written out": _with_header(mint, {"typ": "application/AT+jwt"}),
        "header with blanks": mint.raw(f" {header}\n", claims),
    }


def flipped_tokens(token: str) -> Iterator[str]:
    """`token` with one bit changed: every bit of every character, the highest as well."""
    for position, character in enumerate(token):
        for bit in range(8):
            yield token[:position] + chr(ord(character) ^ (1 << bit)) + token[position + 1 :]


def _with_header(mint: TokenMint, changes: dict[str, Any]) -> str:
    return mint.raw(json.dumps(mint.header(**changes)), json.dumps(mint.claims()))


def _claims(mint: TokenMint) -> dict[str, dict[str, Any]]:
    now_s, issuer, mine = int(mint.clock.now_s()), mint.issuer, list(mint.audience)
    return {
        "issuer of another grid": {"iss": "https://other.test"},
        "issuer with a slash more": {"iss": issuer + "/"},
        "issuer in capitals": {"iss": issuer.upper()},
        "issuer with a NUL behind": {"iss": issuer + "\0"},
        "issuer as a list": {"iss": [issuer]},
        "issuer as an object": {"iss": {issuer: 1}},
        "issuer missing": {"iss": ...},
        "issuer null": {"iss": None},
        "audience of another service": {"aud": ["other"]},
        "audience begins with the name": {"aud": [name + "2" for name in mine]},
        "audience contains the names": {"aud": " ".join(["x", *mine, "x"])},
        "audience empty": {"aud": []},
        "audience missing": {"aud": ...},
        "audience null": {"aud": None},
        "audience a number": {"aud": 1},
        "audience an object": {"aud": dict.fromkeys(mine, True)},
        "audience a numbered object": {"aud": {str(n): name for n, name in enumerate(mine, start=1)}},
        "audience an empty object": {"aud": {}},
        "audience a nested list": {"aud": [mine]},
        "audience a mixed list": {"aud": [*mine, 1]},
        "expired": {"exp": now_s - HOUR_S},
        "expired by ten seconds": {"exp": now_s - 10},
        "expired before 1970": {"exp": -1},
        "expiry a string": {"exp": str(now_s + HOUR_S)},
        "expiry true": {"exp": True},
        "expiry null": {"exp": None},
        "expiry missing": {"exp": ...},
        "expiry a list": {"exp": [now_s + HOUR_S]},
        "expiry an object": {"exp": {"": now_s + HOUR_S}},
        "expiry beyond every number": {"exp": 10**400},
        "expiry below every number": {"exp": -(10**400)},
        "expiry far too large": {"exp": 1e300},
        "issued at a string": {"iat": "now"},
        "issued at true": {"iat": True},
        "issued at missing": {"iat": ...},
        "issued in the future": {"iat": now_s + HOUR_S},
        "issued before 1970": {"iat": -5},
        "not before a string": {"nbf": "0"},
        "not before true": {"nbf": True},
        "not before null": {"nbf": None},
        "not before the future": {"nbf": now_s + HOUR_S},
        "subject missing": {"sub": ...},
        "subject empty": {"sub": ""},
        "subject null": {"sub": None},
        "subject a list": {"sub": ["ada"]},
        "subject a number": {"sub": 7},
        "subject with a line break": {"sub": "ada\r\nX-Admin: 1"},
        "subject with a NUL": {"sub": "ada\0"},
        "subject with half a surrogate": {"sub": "\ud800"},
        "subject too long": {"sub": "a" * 513},
        "client missing": {"client_id": ...},
        "client true": {"client_id": True},
        "tenant missing": {"tenant": ...},
        "tenant a list": {"tenant": ["a", "b"]},
        "tenant empty": {"tenant": ""},
        "id missing": {"jti": ...},
        "id a number": {"jti": 1},
        "scope a list": {"scope": ["memory:read"]},
        "scope null": {"scope": None},
        "scope an object": {"scope": {"memory:read": True}},
        "roles a string": {"roles": "admin"},
        "roles null": {"roles": None},
        "roles a mixed list": {"roles": ["admin", 1]},
        "roles an object": {"roles": {"admin": "admin"}},
        "roles an empty object": {"roles": {}},
        "more than the limit, rightly signed": {"padding": "x" * TOKEN_LIMIT_CHARACTERS},
    }


def _headers(mint: TokenMint) -> dict[str, dict[str, Any]]:
    return {
        "algorithm none": {"alg": "none"},
        "algorithm None": {"alg": "None"},
        "algorithm nOnE": {"alg": "nOnE"},
        "algorithm empty": {"alg": ""},
        "algorithm missing": {"alg": ...},
        "algorithm null": {"alg": None},
        "algorithm a list": {"alg": ["ES256"]},
        "algorithm HS256": {"alg": "HS256"},
        "algorithm of another kind of key": {"alg": "RS256"},
        "algorithm of a larger curve": {"alg": "ES384"},
        "algorithm of the other Koblitz curve": {"alg": "ES256K"},
        "algorithm in lower case": {"alg": "es256"},
        "algorithm with a space": {"alg": "ES256 "},
        "algorithm with a NUL": {"alg": "ES256\0"},
        "type JWT": {"typ": "JWT"},
        "type missing": {"typ": ...},
        "type null": {"typ": None},
        "type of an id token": {"typ": "id+jwt"},
        "type of a logout token": {"typ": "logout+jwt"},
        "type a list": {"typ": ["at+jwt"]},
        "key missing": {"kid": ...},
        "key unknown": {"kid": "nobody"},
        "key empty": {"kid": ""},
        "key a path": {"kid": "../../etc/passwd"},
        "key an address": {"kid": "https://evil.test/key.pem"},
        "key a query": {"kid": "' UNION SELECT 'secret' --"},
        "key a command": {"kid": "key|id"},
        "key a member of every object": {"kid": "__proto__"},
        "key an index": {"kid": 1},
        "key in other capitals": {"kid": mint.kid.swapcase()},
        "key with a NUL behind": {"kid": mint.kid + "\0"},
        "key of 4,000 characters": {"kid": "k" * 4000},
        "key a list": {"kid": [mint.kid]},
        "key null": {"kid": None},
        "critical unknown": {"crit": ["x"], "x": 1},
        "critical known": {"crit": ["exp"], "exp": int(mint.clock.now_s())},
        "critical empty": {"crit": []},
        "critical null": {"crit": None},
        "payload not encoded": {"b64": False, "crit": ["b64"]},
        "key embedded": {"jwk": mint.public},
        "keys elsewhere": {"jku": "https://evil.test/jwks.json"},
        "certificate elsewhere": {"x5u": "https://evil.test/cert"},
        "certificate embedded": {"x5c": ["MIIB"]},
        "certificate thumbprint": {"x5t#S256": "AAAA"},
        "nested": {"cty": "JWT"},
        "compressed": {"zip": "DEF"},
        "encrypted": {"enc": "A256GCM"},
        "a member that nobody knows": {"colour": "blue"},
    }


def _header_texts(header: str) -> dict[str, str | bytes]:
    return {
        "not JSON": "{",
        "a list": "[]",
        "empty object": "{}",
        "nothing": "",
        "a member twice": header[:-1] + ', "alg": "none"}',
        "the same member twice": header[:-1] + f", {header[1:]}",
        "an escaped member twice": header[:-1] + ', "\\u0061lg": "none"}',
        "nested without end": "[" * 4000,
        "in UTF-16": header.encode("utf-16"),
        "not UTF-8": header.encode()[:-1] + b', "x": "\xff"}',
        "with a byte order mark": b"\xef\xbb\xbf" + header.encode(),
        "bytes behind": header + "x",
        "two of them": header + header,
    }


def _claims_texts(mint: TokenMint, claims: str) -> dict[str, str | bytes]:
    inner = mint.token()
    return {
        "a list": "[]",
        "a string": '"ada"',
        "a number": "1",
        "null": "null",
        "empty object": "{}",
        "not JSON": "ada",
        "cut off": claims[:-1],
        "nested JSON in a string": json.dumps(claims),
        "a token inside": inner,
        "a token inside, as JSON": json.dumps(inner),
        "in a list": f"[{claims}]",
        "subject twice": claims[:-1] + ', "sub": "root"}',
        "the same subject twice": claims[:-1] + ', "sub": "ada"}',
        "an escaped member twice": claims[:-1] + ', "s\\u0075b": "root"}',
        "expiry twice": claims[:-1] + ', "exp": 9999999999}',
        "a member twice, deep inside": claims[:-1] + ', "x": [{"a": 1, "a": 2}]}',
        "nested without end": "[" * 4000,
        "an unknown member nested without end": claims[:-1] + f', "x": {"[" * 4000}',
        "not UTF-8": claims.encode()[:-1] + b', "x": "\xff"}',
        "an overlong character": claims.encode()[:-1] + b', "x": "\xc0\xaf"}',
        "an encoded surrogate": claims.encode()[:-1] + b', "x": "\xed\xa0\x80"}',
        "in UTF-16": claims.encode("utf-16"),
        "with a byte order mark": b"\xef\xbb\xbf" + claims.encode(),
        "bytes behind": claims + "x",
        "two of them": claims + claims,
        "a NUL behind": claims + "\0",
        "a comma too many": claims[:-1] + ",}",
        "a comment": claims[:-1] + "/* */}",
        "in single quotes": claims.replace('"', "'"),
        "a raw line break in a string": claims.replace("ada", "a\nda"),
        "an escape that JSON does not know": claims.replace("ada", "a\\da"),
        "names without quotes": claims.replace('"sub"', "sub"),
        "a space that JSON does not know": claims.replace(" ", "\u00a0", 1),
    }


def _numbers(mint: TokenMint, claims: str) -> Iterator[tuple[str, str]]:
    """Expiries that are no JSON numbers, or no times."""
    good = str(int(mint.clock.now_s()) + 600)
    written = {
        "NaN": "NaN", "Infinity": "Infinity", "minus Infinity": "-Infinity", "nan": "nan", "inf": "inf",
        "too large for a double": "1e999", "of 3,000 digits": "9" * 3000, "hexadecimal": "0xFFFFFFFFFF",
        "with a zero in front": f"0{good}", "with a plus": f"+{good}", "with a bare point": f"{good}.",
        "with underscores": "9_999_999_999", "with a bare exponent": f"{good}e", "octal": "0o777777777777",
        "in digits of another script": "٩٩٩٩٩٩٩٩٩٩", "with a unit": f"{good}s", "undefined": "undefined",
    }  # fmt: skip
    assert f'"exp": {good}' in claims
    for name, text in written.items():
        yield name, claims.replace(f'"exp": {good}', f'"exp": {text}')


def _encodings(mint: TokenMint) -> dict[str, str]:
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


def _signatures(mint: TokenMint) -> dict[str, str]:
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
        "of RSA": TokenMint("RS256", clock=mint.clock).raw(json.dumps(mint.header(alg="RS256")), evil),
        "of Ed25519": TokenMint("Ed25519", clock=mint.clock).raw(json.dumps(mint.header(alg="Ed25519")), evil),
        "HS256 with the public key's JSON": _mac(mint, json.dumps(mint.public).encode()),
        "HS256 with the public key's PEM": _mac(mint, mint.public_pem),
        "HS256 with the public key's DER": _mac(mint, mint.key.as_der(private=False)),
        "HS256 with the key's name": _mac(mint, mint.kid.encode()),
        "HS256 with nothing": _mac(mint, b""),
        "HS384 with the public key's PEM": _mac(mint, mint.public_pem, "HS384", hashlib.sha384),
        "HS512 with the public key's PEM": _mac(mint, mint.public_pem, "HS512", hashlib.sha512),
    }


def _shapes(mint: TokenMint) -> dict[str, str]:
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
