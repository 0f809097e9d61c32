"""What every token store promises, whatever keeps it."""

import pytest

from ragrid.errors import ConflictError, RagridError
from ragrid.services.tokens.grants import Credentials, OAuthError
from ragrid.services.tokens.people_store import Device, PeopleStore, User
from ragrid.services.tokens.store import AuditEvent, AuditQuery
from support.token_desk import PLAIN, Desk


def user(name: str, **changes: str) -> User:
    wanted = {"tenant": "team", "password_hash": "-", **changes}
    return User(name=name, roles=("writer",), disabled=False, created_s=1.5, **wanted)


def content(desk: Desk) -> tuple[object, ...]:
    store = desk.store
    return (store.clients(), store.keys(), desk.issuer.revoked, desk.lines(), PeopleStore(store).users())


def test_everything_is_there_after_a_restart(desk: Desk) -> None:
    desk.person("eve", "reader", "writer")
    token = desk.token("ada")
    secret = desk.issuer.clientele.create("app", tenant="team", roles=("reader",), by="root")
    desk.issuer.revoke(token.access_token, desk.client("root"))
    desk.issuer.clientele.revoke_all("subject", "eve", by="root")
    before = (
        desk.store.clients(),
        desk.store.keys(),
        desk.issuer.revoked,
        desk.lines(),
        PeopleStore(desk.store).users(),
    )
    desk.start()
    after = (
        desk.store.clients(),
        desk.store.keys(),
        desk.issuer.revoked,
        desk.lines(),
        PeopleStore(desk.store).users(),
    )
    assert after == before
    assert desk.issuer.authenticate(Credentials("app", secret)).roles == ("reader",)
    assert desk.issuer.introspect(token.access_token, desk.client("root")) == {"active": False}


def test_a_change_that_fails_leaves_nothing(desk: Desk) -> None:
    events = desk.events()

    def fail_half_way() -> None:
        with desk.store.change():
            PeopleStore(desk.store).put_user(user("eve"))
            desk.store.audit(AuditEvent(at_s=1.0, event="never"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert PeopleStore(desk.store).users() == []
    assert desk.events() == events
    desk.person("eve")  # the next one is not in the way


@pytest.mark.parametrize("statement", ["UPDATE audit SET event = 'x'", "DELETE FROM audit"])
def test_the_audit_log_is_only_extended(desk: Desk, statement: str) -> None:
    before = desk.lines()
    with pytest.raises(RagridError, match=r"append-only|denied"):
        desk.store.rows(statement)
    assert desk.lines() == before
    assert before


def test_no_audit_line_no_token(desk: Desk) -> None:
    client = desk.client("ada")
    desk.store.rows("DROP TABLE audit")
    with pytest.raises(RagridError, match="audit"):
        desk.issuer.issue(PLAIN, client)


def test_pages_of_the_audit_log_are_in_order_and_whole(desk: Desk) -> None:
    with desk.store.change():
        for number in range(25):
            event = AuditEvent(at_s=float(number), event="e", client_id="ada" if number % 2 else None, subject="eve")
            desk.store.audit(event)
    every = desk.lines()
    seen: list[AuditEvent] = []
    while page := desk.issuer.audit_lines(AuditQuery(after=seen[-1].id if seen else 0), 7):
        seen += page
    assert seen == every
    of_ada = desk.issuer.audit_lines(AuditQuery(name="ada", since_s=0.0), 1000)
    assert of_ada == [line for line in every if "ada" in (line.client_id, line.subject)]
    late = desk.issuer.audit_lines(AuditQuery(since_s=20.0, name="eve"), 1000)
    assert {line.at_s for line in late} == {20.0, 21.0, 22.0, 23.0, 24.0}


def test_a_name_belongs_to_one(desk: Desk) -> None:
    desk.person("eve")
    with pytest.raises(ConflictError, match="eve"):
        desk.issuer.clientele.create("eve", tenant="team", roles=("reader",), by="root")
    with pytest.raises(ConflictError, match="ada"):
        desk.person("ada")


def test_storing_again_replaces(desk: Desk) -> None:
    people = PeopleStore(desk.store)
    with desk.store.change():
        people.put_user(user("eve"))
        people.put_user(user("eve", tenant="other", password_hash="+"))
    assert [(one.tenant, one.password_hash) for one in people.users()] == [("other", "+")]


def test_a_watermark_never_goes_back(desk: Desk) -> None:
    with desk.store.change():
        for not_before_s in (10.0, 30.0, 20.0):
            desk.store.put_watermark("subject", "eve", not_before_s)
    assert desk.store.watermarks("subject") == {"eve": 30.0}


def test_what_is_good_once_is_good_once(desk: Desk) -> None:
    people = PeopleStore(desk.store)
    device = Device(user_code="BCDF", client_id="app", scope=None, audience=("memory",), expires_s=9e9)
    with desk.store.change():
        assert [desk.store.remember_assertion("ada", "id", 9e9) for _ in range(2)] == [True, False]
        people.put_device("secret", device)
        assert [people.decide_device("BCDF", "allowed", "eve"), people.decide_device("BCDF", "denied", None)] == [
            True,
            False,
        ]
        assert people.device("secret") is not None
        assert [people.forget_device("secret"), people.forget_device("secret")] == [True, False]


@pytest.mark.parametrize(
    "name", ["a\0da", "ada'; DROP TABLE clients; --", "ad\N{LATIN SMALL LETTER A WITH DIAERESIS}", "?"]
)
def test_no_name_breaks_anything(desk: Desk, name: str) -> None:
    with pytest.raises(OAuthError, match="client"):
        desk.issuer.authenticate(Credentials(name, "x"))
    assert desk.issuer.audit_lines(AuditQuery(), 1000)[-1].event == "token-refused"
    assert desk.token("ada").access_token


def test_keys_change_by_the_schedule_and_once(desk: Desk) -> None:
    first = desk.issuer.keyring.current.kid
    desk.clock.advance(86_400.0)
    assert desk.issuer.keys.tend()
    assert not desk.issuer.keys.tend()
    assert desk.issuer.keyring.current.kid != first
    found = desk.store.keys()
    kept = {key.pair.kid: key.pair.private_jwk for key in found}
    assert kept[first] is None, "a retired key can never sign again"
    assert desk.events().count("keys-changed") == 2
    desk.start()
    assert desk.issuer.keyring.pairs.keys() == kept.keys()
