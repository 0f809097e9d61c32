"""Tokens that nobody may accept (RFC 8725 and what else attackers try), each with a name: one table for every verifier.

Most carry a right signature of the grid's own key: whoever checks the signature alone lets them through.
"""

import json
from collections.abc import Iterator
from typing import Any

from ragrid.identity.verify import TOKEN_LIMIT_CHARACTERS
from support.crafted_spellings import shapes, spellings, wrong_signatures
from support.token_mint import TokenMint

HOUR_S = 3600


def crafted_tokens(mint: TokenMint) -> dict[str, str]:
    """Every crafted token by its name, for a verifier that trusts `mint` (ES256) alone."""
    header, claims = json.dumps(mint.header()), json.dumps(mint.claims())
    return {
        **{f"claims: {name}": mint.token(**changes) for name, changes in _claims(mint).items()},
        **{f"header: {name}": _with_header(mint, changes) for name, changes in _headers(mint).items()},
        **{f"header text: {name}": mint.raw(text, claims) for name, text in _header_texts(header).items()},
        **{f"claims text: {name}": mint.raw(header, text) for name, text in _claims_texts(mint, claims).items()},
        **{f"numbers: {name}": mint.raw(header, text) for name, text in _numbers(mint, claims)},
        **{f"encoding: {name}": token for name, token in spellings(mint).items()},
        **{f"signature: {name}": token for name, token in wrong_signatures(mint).items()},
        **{f"shape: {name}": token for name, token in shapes(mint).items()},
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
    return {
        **_issuers(mint.issuer),
        **_audiences(list(mint.audience)),
        **_times(int(mint.clock.now_s())),
        **_people(),
        **_rights(),
    }


def _issuers(issuer: str) -> dict[str, dict[str, Any]]:
    return {
        "issuer of another grid": {"iss": "https://other.test"},
        "issuer with a slash more": {"iss": issuer + "/"},
        "issuer in capitals": {"iss": issuer.upper()},
        "issuer with a NUL behind": {"iss": issuer + "\0"},
        "issuer as a list": {"iss": [issuer]},
        "issuer as an object": {"iss": {issuer: 1}},
        "issuer missing": {"iss": ...},
        "issuer null": {"iss": None},
    }


def _audiences(mine: list[str]) -> dict[str, dict[str, Any]]:
    return {
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
    }


def _times(now_s: int) -> dict[str, dict[str, Any]]:
    return {
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
    }


def _people() -> dict[str, dict[str, Any]]:
    return {
        "subject missing": {"sub": ...},
        "subject empty": {"sub": ""},
        "subject null": {"sub": None},
        "subject a list": {"sub": ["ada"]},
        "subject a number": {"sub": 7},
        "subject with a line break": {"sub": "ada\r\nX-Admin: 1"},
        "subject with a NUL": {"sub": "ada\0"},
        "subject with half a surrogate": {"sub": "\ud800"},
        "subject too long": {"sub": "a" * 257},
        "subject in another script": {"sub": "a\u0434a"},
        "subject with a mark that nobody sees": {"sub": "ada\u200b"},
        "tenant with a byte order mark": {"tenant": "\ufeffdefault_tenant"},
        "half a surrogate in a claim that nobody knows": {"x": "\ud800"},
        "half a surrogate in a name that nobody knows": {"\udc00": 1},
        "half a surrogate in a role": {"roles": ["writer", "\ud800"]},
        "client missing": {"client_id": ...},
        "client true": {"client_id": True},
        "tenant missing": {"tenant": ...},
        "tenant a list": {"tenant": ["a", "b"]},
        "tenant empty": {"tenant": ""},
        "id missing": {"jti": ...},
        "id a number": {"jti": 1},
    }


def _rights() -> dict[str, dict[str, Any]]:
    return {
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
        "of an exponent of many digits": "17e5410902", "of many zeros in its exponent": f"{good}e0000",
        "too large for a double": "1e999", "of 3,000 digits": "9" * 3000, "hexadecimal": "0xFFFFFFFFFF",
        "with a zero in front": f"0{good}", "with a plus": f"+{good}", "with a bare point": f"{good}.",
        "with underscores": "9_999_999_999", "with a bare exponent": f"{good}e", "octal": "0o777777777777",
        "in digits of another script": "٩٩٩٩٩٩٩٩٩٩", "with a unit": f"{good}s", "undefined": "undefined",
    }  # fmt: skip
    assert f'"exp": {good}' in claims
    for name, text in written.items():
        yield name, claims.replace(f'"exp": {good}', f'"exp": {text}')
