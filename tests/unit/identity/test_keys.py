import json
import os
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk

from ragrid.errors import StateError
from ragrid.identity.keys import JWKS_LIMIT_BYTES, STAT_INTERVAL_S, UNKNOWN_KID_INTERVAL_S, KeyFile, parse_jwks
from ragrid.identity.strict import encode_base64url
from ragrid.system.clock import ManualClock
from ragrid.system.files import write_atomic
from support.token_mint import TokenMint

ONE, TWO = TokenMint(), TokenMint()


def _set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_usable_keys_are_read_and_others_left_out() -> None:
    content = _set(
        ONE.public,
        {**TWO.public, "use": "enc"},
        {name: value for name, value in TWO.public.items() if name != "kid"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256"},
        {**TWO.public, "kid": "wrong-algorithm", "alg": "HS256"},
        {**TWO.public, "kid": "not-on-the-curve", "x": TWO.public["y"]},
        {**jwk.ECKey.generate_key("P-384").as_dict(private=False), "kid": "p384"},
        {"kty": "RSA", "n": encode_base64url(b"\xff" * 128), "e": "AQAB", "kid": "1024 bits"},
        {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "no number"},
        {"kty": ["EC"], "kid": "odd"},
        {"kid": "empty"},
    )
    keys = parse_jwks(content)
    assert set(keys) == {ONE.kid}
    assert keys[ONE.kid].algorithm == "ES256"


def test_a_private_key_in_the_set_is_read_as_its_public_half() -> None:
    private = {**ONE.key.as_dict(private=True), "kid": ONE.kid}
    assert not parse_jwks(_set(private))[ONE.kid].key.is_private


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1]}', b'{"keys": [], "keys": []}',
        b"\xff", _set(ONE.public, ONE.public), b" " * (JWKS_LIMIT_BYTES + 1),
    ],
)  # fmt: skip
def test_what_is_no_key_set_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(StateError, match=r"^keys\.json: "):
        parse_jwks(content, where="keys.json")


def test_the_file_is_followed(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    keys = KeyFile(path, clock)
    assert keys.find(ONE.kid) is None
    write_atomic(path, ONE.jwks)
    clock.advance(STAT_INTERVAL_S)
    assert keys.find(ONE.kid) is not None
    before = keys.revision
    clock.advance(UNKNOWN_KID_INTERVAL_S - STAT_INTERVAL_S)
    _ = keys.revision
    write_atomic(path, TWO.jwks)
    assert keys.find(TWO.kid) is not None, "an unknown key makes it look at once"
    assert keys.find(ONE.kid) is None
    assert keys.revision != before


def test_a_known_key_is_withdrawn_within_the_interval(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    write_atomic(path, ONE.jwks)
    keys = KeyFile(path, clock)
    assert keys.find(ONE.kid) is not None
    write_atomic(path, TWO.jwks)
    assert keys.find(ONE.kid) is not None
    clock.advance(STAT_INTERVAL_S)
    assert keys.find(ONE.kid) is None


def test_unknown_names_do_not_make_it_read_again_and_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    write_atomic(path, ONE.jwks)
    keys = KeyFile(path, clock)
    assert keys.find("nobody") is None
    write_atomic(path, TWO.jwks)
    assert keys.find(TWO.kid) is None, "both looks were just spent"
    clock.advance(UNKNOWN_KID_INTERVAL_S)
    assert keys.find(TWO.kid) is not None


@pytest.mark.parametrize("broken", [b"", b"{", b'{"keys": []}', None])
def test_the_last_good_keys_stay(tmp_path: Path, broken: bytes | None) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    write_atomic(path, ONE.jwks)
    keys = KeyFile(path, clock)
    assert keys.find(ONE.kid) is not None
    before = keys.revision
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)
    clock.advance(60)
    assert keys.find("nobody") is None
    assert keys.find(ONE.kid) is not None
    assert keys.revision == before
    write_atomic(path, TWO.jwks)
    clock.advance(60)
    assert keys.find(TWO.kid) is not None


def test_the_same_keys_in_a_new_file_are_no_change(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    write_atomic(path, ONE.jwks)
    keys = KeyFile(path, clock)
    before = keys.revision
    write_atomic(path, ONE.jwks + b"\n")
    clock.advance(60)
    assert keys.revision == before


def test_a_change_within_the_same_second_and_size_is_seen(tmp_path: Path) -> None:
    path, clock = tmp_path / "jwks.json", ManualClock()
    write_atomic(path, ONE.jwks)
    keys = KeyFile(path, clock)
    assert keys.find(ONE.kid) is not None
    stamp = path.stat().st_mtime_ns
    write_atomic(path, TWO.jwks)
    os.utime(path, ns=(stamp, stamp))
    clock.advance(STAT_INTERVAL_S)
    assert keys.find(ONE.kid) is None
