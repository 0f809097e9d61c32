import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.open import open_verifier
from ragrid.identity.revocations import STAT_INTERVAL_S, RevocationFile, Revoked
from ragrid.identity.verify import InvalidTokenError, TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import ManualClock
from ragrid.system.files import write_atomic
from support.token_mint import ISSUER, TokenMint

MINT = TokenMint()
NOW_S = MINT.clock.now_s()


def listed(*tokens: str, **marks: dict[str, float]) -> bytes:
    """What the token service answers at /revocations."""
    document: dict[str, Any] = {"revision": "1", "revoked": [{"jti": one, "exp": NOW_S + 600} for one in tokens]}
    return json.dumps({**document, "subjects": {}, "clients": {}, **marks}).encode()


def trusting(folder: Path) -> TokenTrust:
    (folder / "jwks.json").write_bytes(MINT.jwks)
    files = {"jwks_file": folder / "jwks.json", "revocations_file": folder / "revocations.json"}
    return TokenTrust(issuer=ISSUER, audience="memory", **files)


@pytest.mark.parametrize(
    "content",
    [
        listed("other", "id-1"),
        listed(subjects={"ada": NOW_S + 1}),
        listed(clients={"ada": NOW_S + 1}),
    ],
    ids=["by its id", "with its subject", "with its client"],
)
def test_a_revoked_token_is_refused_also_when_its_signature_is_remembered(tmp_path: Path, content: bytes) -> None:
    clock = ManualClock(NOW_S)
    verifier = open_verifier(trusting(tmp_path), clock)
    token = MINT.token()
    assert verifier.verify(token).subject == "ada"
    write_atomic(tmp_path / "revocations.json", content)
    clock.advance(STAT_INTERVAL_S)
    with pytest.raises(InvalidTokenError, match="revoked"):
        verifier.verify(token)


@pytest.mark.parametrize(
    "content",
    [
        listed("other"),
        listed(subjects={"ada": NOW_S, "eve": NOW_S + 60}),
        listed(clients={"eve": NOW_S + 60, "a": NOW_S + 60}),
        b'{"revoked": []}',
    ],
)
def test_what_was_not_revoked_is_good(tmp_path: Path, content: bytes) -> None:
    write_atomic(tmp_path / "revocations.json", content)
    assert open_verifier(trusting(tmp_path), ManualClock(NOW_S)).verify(MINT.token()).subject == "ada"


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"revoked": 1}', b'{"revoked": [{"jti": 1}]}', None])
def test_what_was_revoked_stays_so_without_a_good_file(tmp_path: Path, broken: bytes | None) -> None:
    path, clock = tmp_path / "revocations.json", ManualClock(NOW_S)
    write_atomic(path, listed("id-1"))
    file = RevocationFile(path, clock)
    assert set(file.revoked.tokens) == {"id-1"}
    path.unlink() if broken is None else path.write_bytes(broken)
    clock.advance(60)
    assert set(file.revoked.tokens) == {"id-1"}
    write_atomic(path, listed())
    clock.advance(60)
    assert file.revoked == Revoked()


def test_the_age_is_that_of_the_last_word_of_the_controller(tmp_path: Path) -> None:
    path, clock = tmp_path / "revocations.json", ManualClock(NOW_S)
    file = RevocationFile(path, clock)
    assert file.age_s() == math.inf
    write_atomic(path, listed("id-1"))
    os.utime(path, (NOW_S, NOW_S))
    assert file.age_s() == 0
    clock.advance(90)
    assert file.age_s() == 90
    os.utime(path, (NOW_S + 89, NOW_S + 89))
    assert file.age_s() == 1
    path.write_bytes(b"{")
    assert file.age_s() == 1, "what cannot be read confirms nothing"


def test_the_file_is_looked_at_now_and_then_only(tmp_path: Path) -> None:
    path, clock = tmp_path / "revocations.json", ManualClock(NOW_S)
    file = RevocationFile(path, clock)
    assert file.revoked == Revoked()
    write_atomic(path, listed("id-1"))
    assert file.revoked == Revoked()
    clock.advance(STAT_INTERVAL_S)
    assert set(file.revoked.tokens) == {"id-1"}


def test_without_a_file_in_the_settings_nothing_is_revoked(tmp_path: Path) -> None:
    trust = TokenTrust(issuer=ISSUER, audience="memory", jwks_file=tmp_path / "none")
    fixed = FixedKeys(parse_jwks(MINT.jwks))
    assert TokenVerifier(trust, fixed, ManualClock(NOW_S)).verify(MINT.token()).subject == "ada"
    write_atomic(tmp_path / "none", MINT.jwks)
    assert open_verifier(trust, ManualClock(NOW_S)).verify(MINT.token()).subject == "ada"
