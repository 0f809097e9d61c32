import json

import pytest

from ragrid.errors import ConflictError, StateError, UnreachableError
from ragrid.identity.verify import ExpiredTokenError, InvalidTokenError
from ragrid.services.tokens.clients import hash_secret
from ragrid.services.tokens.grants import Credentials, Form, OAuthError
from ragrid.services.tokens.issuer import AUDITED_REFUSALS_BURST
from ragrid.services.tokens.keeper import SEEN_S
from ragrid.services.tokens.store import AuditQuery, Kind
from ragrid.services.tokens.throttle import FREE_FAILURES
from support.token_desk import PLAIN, Desk

DAY_S = 86_400.0


def test_a_token_verifies_against_what_is_published(desk: Desk) -> None:
    issued = desk.token("ada")
    claims = desk.verifier(desk.issuer.keyring.jwks).verify(issued.access_token)
    assert (claims.subject, claims.tenant, claims.roles) == ("ada", "default_tenant", ("reader",))
    assert claims.permissions == set(issued.scope.split())
    assert claims.audience == ("chromadb", "memory", "tokens")
    assert (issued.expires_in, claims.expires_at_s - claims.issued_at_s) == (600, 600)
    assert desk.token("memory").expires_in == DAY_S
    assert desk.token("ada").access_token != issued.access_token


def test_what_is_published_has_no_private_half(desk: Desk) -> None:
    keys = json.loads(desk.issuer.keyring.jwks)["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}] * 2


def test_ten_days_lose_no_token(desk: Desk) -> None:
    """Walks 10 days in steps of three hours; a service's token of each step is good until its own end."""
    live: list[tuple[float, str]] = []
    kids = set()
    for _ in range(10 * 8):
        desk.issuer.tend()
        verifier = desk.verifier(desk.issuer.keyring.jwks)
        live = [(end_s, token) for end_s, token in live if end_s > desk.clock.now_s()]
        for end_s, token in live[:1] + live[-1:]:
            assert verifier.verify(token).expires_at_s == end_s
        claims = {"iss": "https://grid.test", "aud": "memory", "sub": "s", "client_id": "s", "tenant": "t", "jti": "j"}
        now_s = desk.clock.now_s()
        token = desk.issuer.keyring.sign({**claims, "iat": now_s, "exp": now_s + DAY_S})
        live.append((now_s + DAY_S, token))
        kids.add(desk.issuer.keyring.current.kid)
        desk.clock.advance(3 * 3600)
    assert len(kids) == 10
    assert len(desk.issuer.keyring.records) <= 4


def test_a_restart_at_any_moment_goes_on_where_it_was(desk: Desk) -> None:
    before = desk.issuer.keyring.records
    desk.start()
    assert desk.issuer.keyring.records == before
    desk.clock.advance(3 * DAY_S)
    desk.start()
    assert desk.issuer.keyring.records == before
    desk.clock.advance(SEEN_S)
    desk.issuer.tend()
    assert desk.issuer.keyring.current.kid == next(key.kid for key in before if key.state == "next")


def test_a_key_that_this_process_has_just_begun_to_show_signs_nothing(desk: Desk) -> None:
    """The process that made it may have died before anybody saw it."""
    signer = desk.issuer.keyring.current.kid
    desk.clock.advance(2 * DAY_S)
    for _ in range(3):
        desk.start()
        desk.clock.advance(SEEN_S - 0.1)
        desk.issuer.tend()
        assert desk.issuer.keyring.current.kid == signer
    desk.clock.advance(0.1)
    assert desk.issuer.keys.unseen_s() == 0.0
    desk.issuer.tend()
    assert desk.issuer.keyring.current.kid != signer
    assert desk.issuer.keys.unseen_s() == SEEN_S


def test_a_retired_key_can_never_sign_again(desk: Desk) -> None:
    old = desk.issuer.keyring.current.kid
    private = desk.issuer.keyring.pairs[old].private_jwk
    assert private is not None
    desk.clock.advance(DAY_S)
    assert desk.issuer.keys.tend()
    assert not desk.issuer.keys.tend()
    assert desk.issuer.keyring.pairs[old].private_jwk is None
    secret = json.loads(private)["d"].encode()
    for path in (desk.folder / "data").iterdir():
        assert secret not in path.read_bytes(), f"the destroyed half lingers in {path.name}"


def test_rotation_on_demand_and_a_leaked_key(desk: Desk) -> None:
    first = desk.token("ada").access_token
    desk.issuer.keys.rotate_now(drop_current=False, by="root")
    second = desk.token("ada").access_token
    verifier = desk.verifier(desk.issuer.keyring.jwks)
    assert verifier.verify(first).subject == verifier.verify(second).subject == "ada"
    desk.issuer.keys.rotate_now(drop_current=True, by="root")
    with pytest.raises(InvalidTokenError):
        desk.verifier(desk.issuer.keyring.jwks).verify(second)
    assert desk.verifier(desk.issuer.keyring.jwks).verify(first).subject == "ada"
    desk.start()
    assert desk.verifier(desk.issuer.keyring.jwks).verify(desk.token("ada").access_token).subject == "ada"


@pytest.mark.parametrize("client_id", ["ada", "nobody", "", "a" * 100_000, "ada\0"])
def test_a_wrong_secret_and_an_unknown_client_are_told_alike(desk: Desk, client_id: str) -> None:
    with pytest.raises(OAuthError) as caught:
        desk.issuer.authenticate(Credentials(client_id, "wrong"))
    assert (caught.value.status, caught.value.code) == (401, "invalid_client")
    assert caught.value.detail == "unknown client or wrong secret"


def test_wrong_secrets_are_paused_and_the_owner_is_not_locked_out(desk: Desk) -> None:
    for _ in range(FREE_FAILURES + 1):
        with pytest.raises(OAuthError):
            desk.issuer.authenticate(Credentials("ada", "wrong"))
    with pytest.raises(OAuthError) as caught:
        desk.issuer.authenticate(Credentials("ada", "wrong"))
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "2")
    assert desk.client("ada").client_id == "ada"


def test_a_flood_of_refusals_fills_no_disk_and_is_owned_up_to(desk: Desk) -> None:
    for number in range(AUDITED_REFUSALS_BURST + 50):
        with pytest.raises(OAuthError):
            desk.issuer.authenticate(Credentials(f"stranger-{number}", "wrong"))
    assert desk.events().count("token-refused") == AUDITED_REFUSALS_BURST
    desk.clock.advance(1)
    with pytest.raises(OAuthError):
        desk.issuer.authenticate(Credentials("last", "wrong"))
    assert desk.lines()[-1].details["left_out_before"] == 50


def test_every_issue_and_refusal_is_written_down(desk: Desk) -> None:
    desk.token("ada")
    with pytest.raises(OAuthError):
        desk.issuer.issue(Form({"grant_type": ("client_credentials",), "scope": ("x",)}), desk.client("ada"))
    issued, refused = desk.lines()[-2:]
    assert (issued.event, issued.client_id, issued.expires_s) == ("token-issued", "ada", desk.clock.now_s() + 600)
    assert (refused.event, refused.client_id, refused.details) == ("token-refused", "ada", {"error": "invalid_scope"})
    assert desk.issuer.audit_lines(AuditQuery(after=issued.id), 1) == [refused]


@pytest.mark.parametrize("statement", ["UPDATE audit SET event = 'x'", "DELETE FROM audit"])
def test_the_audit_log_cannot_be_rewritten(desk: Desk, statement: str) -> None:
    with pytest.raises(UnreachableError, match="append-only"):
        desk.store.rows(statement)


def test_no_audit_no_token(desk: Desk) -> None:
    desk.store.rows("DROP TABLE audit")
    with pytest.raises(Exception, match="no such table: audit"):
        desk.issuer.issue(PLAIN, desk.client("ada"))


def test_a_full_disk_issues_nothing_and_is_survived(desk: Desk) -> None:
    ((pages,),) = desk.store.rows("PRAGMA page_count")
    desk.store.rows(f"PRAGMA max_page_count = {pages}")
    answered: list[str] = []

    def fill() -> None:
        while len(answered) < 1000:
            answered.append(desk.token("ada").access_token)

    with pytest.raises(UnreachableError, match="full"):
        fill()
    assert desk.issuer.probe()["clients"] == 4
    desk.store.rows(f"PRAGMA max_page_count = {2**30}")
    answered.append(desk.token("ada").access_token)
    assert desk.events().count("token-issued") == len(answered)


def test_revocation_holds_over_a_restart_until_the_token_is_over(desk: Desk) -> None:
    token = desk.token("ada").access_token
    desk.issuer.revoke(token, desk.client("ada"))
    desk.issuer.revoke(token, desk.client("ada"))
    assert len(desk.issuer.revoked.tokens) == 1
    desk.start()
    assert len(desk.issuer.revoked.tokens) == 1
    assert desk.issuer.introspect(token, desk.client("ada")) == {"active": False}
    desk.clock.advance(600)
    desk.issuer.tend()
    assert len(desk.issuer.revoked.tokens) == 1, "the leeway of verifiers is not over"
    desk.clock.advance(66)
    desk.issuer.tend()
    assert desk.issuer.revoked.tokens == {}
    assert desk.store.revocations() == {}


def test_only_the_owner_and_administrators_revoke(desk: Desk) -> None:
    token = desk.token("ada").access_token
    with pytest.raises(OAuthError) as caught:
        desk.issuer.revoke(token, desk.client("memory"))
    assert (caught.value.status, caught.value.code) == (403, "unauthorized_client")
    assert desk.issuer.revoked.tokens == {}
    desk.issuer.revoke(token, desk.client("root"))
    assert len(desk.issuer.revoked.tokens) == 1


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 10_000])
def test_revoking_what_is_no_token_is_nothing_to_do(desk: Desk, token: str) -> None:
    desk.issuer.revoke(token, desk.client("ada"))
    assert desk.issuer.revoked.tokens == {}


def test_introspection_tells_the_owner_services_and_administrators(desk: Desk) -> None:
    token = desk.token("ada").access_token
    for allowed in ("ada", "root", "memory"):
        seen = desk.issuer.introspect(token, desk.client(allowed))
        assert (seen["active"], seen["sub"], seen["scope"]) == (True, "ada", desk.token("ada").scope)
    assert desk.issuer.introspect(desk.token("root").access_token, desk.client("ada")) == {"active": False}
    desk.clock.advance(600)
    assert desk.issuer.introspect(token, desk.client("ada")) == {"active": False}


def test_the_services_own_verifier_knows_what_was_revoked(desk: Desk) -> None:
    token = desk.token("root").access_token
    verifier = desk.issuer.verifier()
    assert "tokens:admin" in verifier.verify(token).permissions
    desk.issuer.revoke(token, desk.client("root"))
    with pytest.raises(InvalidTokenError, match="revoked"):
        verifier.verify(token)
    fresh = desk.token("root").access_token
    desk.clock.advance(605)
    with pytest.raises(ExpiredTokenError):
        verifier.verify(fresh)


def test_a_client_is_made_used_and_deleted_with_its_tokens(desk: Desk) -> None:
    secret = desk.issuer.clientele.create("bob", tenant="team", roles=("writer",), by="root")
    assert len(secret) == 43
    with pytest.raises(ConflictError):
        desk.issuer.clientele.create("bob", tenant="team", roles=("writer",), by="root")
    desk.start()
    token = desk.issuer.issue(PLAIN, desk.issuer.authenticate(Credentials("bob", secret))).access_token
    assert desk.verifier(desk.issuer.keyring.jwks).verify(token).tenant == "team"
    assert desk.issuer.clientele.delete("bob", by="root")
    assert not desk.issuer.clientele.delete("bob", by="root")
    assert desk.issuer.introspect(token, desk.client("root")) == {"active": False}
    with pytest.raises(OAuthError):
        desk.issuer.authenticate(Credentials("bob", secret))
    assert desk.events()[-4:] == ["token-issued", "client-deleted", "tokens-revoked", "token-refused"]


def test_a_client_of_a_deleted_ones_name_gets_good_tokens_at_once(desk: Desk) -> None:
    """Tokens carry whole seconds: one of the second of the revocation must be good when it came after it."""
    for number in range(3):
        secret = desk.issuer.clientele.create("bob", tenant="team", roles=("writer",), by="root")
        token = desk.issuer.issue(PLAIN, desk.issuer.authenticate(Credentials("bob", secret))).access_token
        assert desk.issuer.introspect(token, desk.client("root"))["active"], number
        assert desk.verifier(desk.issuer.keyring.jwks).verify(token).client_id == "bob"
        desk.issuer.clientele.delete("bob", by="root")
        assert desk.issuer.introspect(token, desk.client("root")) == {"active": False}
        desk.clock.advance(0.25)


def test_revocations_of_one_second_end_what_was_issued_between_them(desk: Desk) -> None:
    kinds: tuple[Kind, ...] = ("client", "subject")
    for kind in (*kinds, *kinds):
        token = desk.token("ada").access_token
        assert desk.issuer.introspect(token, desk.client("root"))["active"]
        desk.issuer.clientele.revoke_all(kind, "ada", by="root")
        assert desk.issuer.introspect(token, desk.client("root")) == {"active": False}
    assert desk.issuer.revoked.clients["ada"] == desk.clock.now_s() + 1, "times do not run ahead of the clock"


@pytest.mark.parametrize("kind", ["client", "subject"])
def test_all_tokens_of_a_client_or_subject_end_and_new_ones_are_good(desk: Desk, kind: Kind) -> None:
    old, other = desk.token("ada").access_token, desk.token("memory").access_token
    before = desk.issuer.revision
    not_before_s = desk.issuer.clientele.revoke_all(kind, "ada", by="root")
    assert desk.issuer.revision != before
    assert desk.lines()[-1].event == "tokens-revoked"
    assert desk.issuer.introspect(old, desk.client("root")) == {"active": False}
    assert desk.issuer.introspect(other, desk.client("root"))["active"]
    assert desk.issuer.introspect(desk.token("ada").access_token, desk.client("root"))["active"]
    desk.start()
    assert desk.issuer.introspect(old, desk.client("root")) == {"active": False}
    assert getattr(desk.issuer.revoked, f"{kind}s") == {"ada": not_before_s}
    desk.clock.advance(DAY_S + 60)
    desk.issuer.tend()
    assert getattr(desk.issuer.revoked, f"{kind}s"), "the longest token that it ends may still be accepted"
    desk.clock.advance(10)
    desk.issuer.tend()
    assert getattr(desk.issuer.revoked, f"{kind}s") == {}


def test_the_audit_log_is_asked_by_time_and_name(desk: Desk) -> None:
    desk.token("ada")
    desk.clock.advance(100)
    since_s = desk.clock.now_s()
    desk.token("ada")
    desk.token("memory")
    desk.issuer.clientele.revoke_all("subject", "ada", by="root")
    asked = desk.issuer.audit_lines(AuditQuery(since_s=since_s, name="ada"), 100)
    assert [line.event for line in asked] == ["token-issued", "tokens-revoked"]
    assert len(desk.issuer.audit_lines(AuditQuery(since_s=since_s), 100)) == 3


@pytest.mark.parametrize("state", ["next", "current", "previous"])
def test_a_withdrawn_key_ends_its_tokens_whatever_it_was(desk: Desk, state: str) -> None:
    desk.issuer.keys.rotate_now(drop_current=False, by="root")
    kid = next(key.kid for key in desk.issuer.keyring.records if key.state == state)
    others = {key.kid for key in desk.issuer.keyring.records} - {kid}
    assert desk.issuer.keys.withdraw(kid, by="root")
    assert not desk.issuer.keys.withdraw(kid, by="root")
    states = [key.state for key in desk.issuer.keyring.records]
    assert (states.count("next"), states.count("current")) == (1, 1)
    assert kid not in desk.issuer.keyring.jwks.decode()
    assert others <= set(desk.issuer.keyring.pairs)
    assert desk.lines()[-1].event == "keys-changed"
    token = desk.token("ada").access_token
    desk.start()
    assert desk.verifier(desk.issuer.keyring.jwks).verify(token).subject == "ada"


def test_secrets_are_stored_as_hashes_only(desk: Desk) -> None:
    secret = desk.issuer.clientele.create("bob", tenant="team", roles=("writer",), by="root")
    desk.token("ada")
    for path in (desk.folder / "data").iterdir():
        content = path.read_bytes()
        assert secret.encode() not in content
        assert desk.secrets["ada"].encode() not in content
    known = desk.store.client("bob")
    assert known is not None
    assert known.secret_hash == hash_secret(secret)


def test_a_client_that_acts_for_people_only_gets_no_tokens_of_its_own(desk: Desk) -> None:
    desk.issuer.clientele.create("app", tenant="team", roles=(), by="root", public=True)
    for client_id in ("app", "ragrid"):
        client = desk.issuer.identify(Credentials(client_id, ""))
        with pytest.raises(OAuthError) as caught:
            desk.issuer.issue(PLAIN, client)
        assert caught.value.code == "unauthorized_client"
        for secret in ("", "x", "\0" * 32):
            with pytest.raises(OAuthError):
                desk.issuer.authenticate(Credentials(client_id, secret))
    for client_id in ("ada", "nobody"):
        with pytest.raises(OAuthError):
            desk.issuer.identify(Credentials(client_id, ""))


def test_a_declared_client_is_not_deleted_by_hand(desk: Desk) -> None:
    with pytest.raises(ConflictError, match="declared in the settings"):
        desk.issuer.clientele.delete("ada", by="root")


def test_unchanged_settings_change_nothing(desk: Desk) -> None:
    token = desk.token("ada").access_token
    before = desk.events()
    desk.start()
    assert desk.events() == before
    assert desk.issuer.introspect(token, desk.client("ada"))["active"]


@pytest.mark.parametrize("change", ["roles", "secret", "removed"])
def test_declared_clients_follow_the_settings_and_their_tokens_too(desk: Desk, change: str) -> None:
    token, other = desk.token("ada").access_token, desk.token("memory").access_token
    if change == "roles":
        desk.seeds["ada"] = ("memory-service",)
    elif change == "secret":
        desk.secrets["ada"] = "n" * 43
    else:
        del desk.seeds["ada"]
    desk.start()
    assert desk.issuer.introspect(token, desk.client("root")) == {"active": False}
    assert desk.issuer.introspect(other, desk.client("root"))["active"]
    if change == "removed":
        with pytest.raises(OAuthError):
            desk.client("ada")
    else:
        assert desk.token("ada").access_token


@pytest.mark.parametrize(
    ("client_id", "roles", "said"),
    [("a b", ("reader",), "client_id"), ("bob", ("king",), "unknown roles"), ("bob", (), "unknown roles")],
)
def test_bad_clients_in_the_settings_are_refused(desk: Desk, client_id: str, roles: tuple[str, ...], said: str) -> None:
    desk.seeds[client_id] = roles
    with pytest.raises(StateError, match=said):
        desk.start()


def test_a_secret_file_that_others_can_read_is_refused(desk: Desk) -> None:
    settings = desk.settings()
    settings.clients[0].secret_file.chmod(0o640)
    with pytest.raises(StateError, match=r"mode 0640, wanted 0600"):
        type(desk.issuer)(settings, desk.store, desk.clock)


def test_a_short_secret_is_refused(desk: Desk) -> None:
    desk.secrets["ada"] = "tiny-secret"
    with pytest.raises(StateError, match="11 characters, wanted 43") as caught:
        desk.start()
    assert "tiny-secret" not in str(caught.value)


def test_the_probe_signs_verifies_and_reads(desk: Desk) -> None:
    assert desk.issuer.probe() == {"clients": 4, "kid": desk.issuer.keyring.current.kid, "revocations": 0}
    desk.clock.advance(100)
    assert desk.issuer.keys.age_s() == 100
