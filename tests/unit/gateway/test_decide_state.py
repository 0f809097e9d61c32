"""What the controller hands out, and how it reads what it is told."""

import json

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from ragrid.errors import StateError
from ragrid.gateway.decide import Known, decide, is_usable
from ragrid.gateway.state import (
    GatewayState,
    Revocations,
    VerificationKey,
    dump_state,
    keys_from_jwks,
    parse_revocations,
    parse_state,
)
from ragrid.registry.protocol import Instance
from support.keys import rsa_key

KEY = VerificationKey(kid="k", alg="ES256", spki="AAAA")
ONE = Instance("memory", "m1", "127.0.0.1", 3000)
KNOWN = Known(instances=(ONE,), keys=(KEY,), roles={"reader": ("memory:read",)}, revoked=Revocations())


def first() -> GatewayState:
    state = decide(None, KNOWN).state
    assert state is not None
    return state


def test_nothing_is_handed_out_before_keys_and_roles_are_known() -> None:
    assert decide(None, Known(instances=(ONE,), roles={})).state is None
    assert decide(None, Known(instances=(ONE,), keys=(KEY,))).state is None
    assert first().version == 1


def test_the_version_grows_only_with_a_change() -> None:
    state = first()
    assert decide(state, KNOWN).state is state
    moved = Instance("memory", "m1", "127.0.0.1", 3001)
    decision = decide(state, Known((moved,), KNOWN.keys, KNOWN.roles, KNOWN.revoked))
    assert decision.state is not None
    assert decision.state.version == 2
    assert decision.sentence == "memory: 1 to 1 instances"


def test_what_was_never_learned_stays_as_it_was() -> None:
    """A controller that starts with registry and token service dead hands out what it handed out before."""
    state = first()
    assert decide(state, Known()).state is state


def test_a_service_that_is_gone_stays_as_a_confirmed_empty_pool() -> None:
    decision = decide(first(), Known((), KNOWN.keys, KNOWN.roles, KNOWN.revoked))
    assert decision.state is not None
    memory = decision.state.services["memory"]
    assert (memory.endpoints, memory.confirmed) == ((), True)


def test_revocations_are_kept_until_others_are_learned() -> None:
    revoked = Revocations(tokens={"t": 1.0})
    state = decide(first(), Known(KNOWN.instances, KNOWN.keys, KNOWN.roles, revoked)).state
    assert state is not None
    assert decide(state, Known()).state is state
    assert state.revoked == revoked


@pytest.mark.parametrize(("host", "port", "usable"), [("::1", 1, True), ("localhost", 1, False), ("1.2.3.4", 0, False)])
def test_only_addresses_are_usable(host: str, port: int, usable: bool) -> None:
    assert is_usable(Instance("s", "i", host, port)) is usable


def test_a_state_survives_being_written_and_read() -> None:
    state = first()
    assert parse_state(dump_state(state)) == state
    assert dump_state(parse_state(dump_state(state))) == dump_state(state)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"version": "1"}', b"\xff"])
def test_what_is_no_state_is_refused(content: bytes) -> None:
    with pytest.raises(StateError, match="gateway state"):
        parse_state(content)


def test_keys_of_every_kind_are_read_and_private_halves_never_leave() -> None:
    keys: list[ECKey | RSAKey | OKPKey] = [
        ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True),
        rsa_key(),
        OKPKey.generate_key("Ed25519", {"alg": "Ed25519"}, auto_kid=True),
    ]
    private = json.dumps({"keys": [key.as_dict(private=True) for key in keys]}).encode()
    public = json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()
    assert keys_from_jwks(private) == keys_from_jwks(public)
    assert [key.kid for key in keys_from_jwks(public)] == sorted(str(key.kid) for key in keys)


def test_keys_that_cannot_verify_are_left_out() -> None:
    good = ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True).as_dict(private=False)
    secret = OctKey.generate_key(256, {"alg": "HS256", "kid": "s"}).as_dict(private=True)
    other_use = {**good, "kid": "e", "use": "enc"}
    assert len(keys_from_jwks(json.dumps({"keys": [good, secret, other_use]}).encode())) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"keys": []}', b'{"keys": 7}', b'{"keys": [7]}'])
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(StateError, match="JWKS"):
        keys_from_jwks(content)


def test_a_key_on_the_wrong_curve_is_refused() -> None:
    key = ECKey.generate_key("P-384", {"alg": "ES256", "kid": "k"}).as_dict(private=False)
    with pytest.raises(StateError, match="P-256"):
        keys_from_jwks(json.dumps({"keys": [key]}).encode())


def test_revocations_are_read_as_the_token_service_lists_them() -> None:
    read = parse_revocations(b'{"revoked": [{"jti": "b", "exp": 2}, {"jti": "a", "exp": 1.5}]}')
    assert read.revocations() == Revocations(tokens={"a": 1.5, "b": 2.0})
    listed = b'{"revoked": [], "subjects": {"ada": 3}, "clients": {"b": 4, "a": 5}, "revision": "x-7"}'
    assert parse_revocations(listed).revocations() == Revocations(subjects={"ada": 3.0}, clients={"a": 5.0, "b": 4.0})
    assert parse_revocations(listed).revision == "x-7"
    with pytest.raises(StateError, match="revocations"):
        parse_revocations(b'{"revoked": ["a"]}')
