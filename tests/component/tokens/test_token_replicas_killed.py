"""Two token services, real processes on one PostgreSQL, one of them killed again and again.

RAGRID_REPLICA_KILLS=20 makes it a longer one; how long it took to hear of revocations is printed (`pytest -rP`).
"""

import itertools
import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.verify import TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import SystemClock
from support.token_service import ISSUER, TokenService, make_service

KILLS = int(os.environ.get("RAGRID_REPLICA_KILLS", "1"))
#: Keys change as fast as a key can become known (`keeper.SEEN_S`).
ROTATION_S = 5.0


@pytest.fixture
def pair(tmp_path: Path, postgresql_database: str) -> Iterator[list[TokenService]]:
    """Two services with the same clients, the second not started yet."""
    services = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        service = make_service(tmp_path / name)
        service.url_file = tmp_path / "database-url"
        service.key_rotation_s, service.access_token_s = ROTATION_S, 3.0
        services.append(service)
    (tmp_path / "database-url").write_text(postgresql_database)
    services[1].secrets = services[0].secrets
    try:
        yield services
    finally:
        for service in services:
            service.close()


def is_good(token: str, at: TokenService) -> bool:
    """Whether the other service's published keys verify a token."""
    answer = at.http.get("/.well-known/jwks.json")
    trust = TokenTrust(issuer=ISSUER, audience="memory", jwks_file=Path("/nowhere"))
    TokenVerifier(trust, FixedKeys(parse_jwks(answer.content)), SystemClock()).verify(token)
    return True


def active(token: str, at: TokenService) -> bool:
    answer = at.http.post("/oauth2/introspect", data={"token": token}, auth=("root", at.secrets["root"]))
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def seconds_until_refused(token: str, *, revoked_at: TokenService, seen_at: TokenService) -> float:
    assert active(token, seen_at)
    root = ("root", revoked_at.secrets["root"])
    assert revoked_at.http.post("/oauth2/revoke", data={"token": token}, auth=root).status_code == 200
    began_s = time.monotonic()
    while active(token, seen_at):
        assert time.monotonic() - began_s < 30.0
    return time.monotonic() - began_s


def audit(service: TokenService) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    root = service.bearer("root")
    while True:
        wanted = {"after": lines[-1]["id"] if lines else 0, "limit": 1000}
        page = service.http.get("/tokens/v1/audit", params=wanted, headers=root).json()["events"]
        lines += page
        if len(page) < 1000:
            return lines


def test_two_replicas_agree_whoever_is_killed(pair: list[TokenService]) -> None:
    chance = random.Random(7)
    for service in pair:
        service.start()
    heard_s = [
        seconds_until_refused(one.token("memory", audience="memory"), revoked_at=one, seen_at=other)
        for one, other in [(pair[0], pair[1]), (pair[1], pair[0])] * 3
    ]
    for _ in range(KILLS):
        victim = chance.choice(pair)
        survivor = pair[1 - pair.index(victim)]
        until_s = time.monotonic() + chance.uniform(1.0, ROTATION_S)
        while time.monotonic() < until_s:
            for one, other in itertools.permutations(pair):
                assert is_good(one.token("reader", audience="memory"), at=other)
        victim.end(signal.SIGKILL)
        assert is_good(survivor.token("reader", audience="memory"), at=survivor)
        victim.start()
    deadline_s = time.monotonic() + 90.0
    while len(rotations(audit(pair[0]))) < min(2, KILLS):  # the kills may all have come before the first one was due
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
    lines = audit(pair[1])
    changed = rotations(lines)
    gaps_s = [later["at_s"] - earlier["at_s"] for earlier, later in itertools.pairwise(changed)]
    signers = [kid for line in changed for kid, state in line["details"]["keys"].items() if state == "current"]
    print(  # noqa: T201 - the figure that a run by hand is for
        f"{KILLS} kills, {len(changed)} rotations, {len(lines)} audit lines; revocations were heard of after"
        f" {statistics.median(heard_s) * 1000:.0f} ms (median of {len(heard_s)}), {max(heard_s) * 1000:.0f} ms at most"
    )
    assert len(signers) == len(set(signers)), "no two of them rotated at the same time"
    assert all(gap_s >= ROTATION_S for gap_s in gaps_s), gaps_s
    assert [line["id"] for line in lines] == sorted({line["id"] for line in lines})
    while pair[0].jwks() != pair[1].jwks():  # a rotation may come just between the two questions
        assert time.monotonic() < deadline_s


def rotations(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the audit log in which another key became the current one."""
    found, signer = [], None
    for line in (line for line in lines if line["event"] == "keys-changed"):
        current = next(kid for kid, state in line["details"]["keys"].items() if state == "current")
        if signer is not None and current != signer:
            found.append(line)
        signer = current
    return found
