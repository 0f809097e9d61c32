"""Several token services on one PostgreSQL: what happens once happens once among all of them, and each hears of it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from ragrid.errors import StateError, UnreachableError
from ragrid.services.tokens import postgresql_engine
from ragrid.services.tokens.attempts import Attempts
from ragrid.services.tokens.grants import Credentials, OAuthError
from ragrid.services.tokens.keeper import SEEN_S
from ragrid.services.tokens.people_store import Code, Device, PeopleStore, RefreshToken, SignIn
from ragrid.services.tokens.postgresql_schema import SCHEMA, VERSION
from ragrid.services.tokens.store import open_shared_store
from ragrid.services.tokens.throttle import FREE_FAILURES
from support.postgresql import Cluster
from support.token_desk import PLAIN, Desk

T = TypeVar("T")
DAY_S = 86_400.0
ROUNDS = 5


@pytest.fixture
def replicas(tmp_path: Path, url_file: Path) -> Iterator[list[Desk]]:
    """Three services on one database, with one clock."""
    first = Desk(tmp_path, url_file)
    every = [first, *(Desk(tmp_path, url_file, first.clock, secrets=first.secrets) for _ in range(2))]
    try:
        for desk in every:
            desk.start()
        yield every
    finally:
        for desk in every:
            desk.stop()


def at_once(calls: list[Callable[[], T]]) -> list[T | Exception]:
    """Make the calls at the same moment, each in its thread; return what came of them, in order."""
    line = threading.Barrier(len(calls))

    def made(call: Callable[[], T]) -> T | Exception:
        line.wait(timeout=30)
        try:
            return call()
        except (OAuthError, UnreachableError) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(made, calls))


def test_one_of_them_rotates(replicas: list[Desk]) -> None:
    clock, signers = replicas[0].clock, list[str]()
    for _ in range(ROUNDS):
        clock.advance(DAY_S)
        for desk in replicas:
            desk.issuer.follow()
        clock.advance(SEEN_S)
        outcomes = at_once([desk.issuer.keys.tend for desk in replicas])
        assert [outcomes.count(each) for each in (True, False)] == [1, 2], outcomes
        for desk in replicas:
            desk.issuer.follow()
        kids = {desk.issuer.keyring.current.kid for desk in replicas}
        assert len(kids) == 1, "all of them sign with the same key afterwards"
        signers += kids
    assert len(set(signers)) == ROUNDS
    assert replicas[0].events().count("keys-changed") == ROUNDS + 1
    assert len({desk.issuer.keyring.jwks for desk in replicas}) == 1


def test_two_that_are_told_to_rotate_do_so_one_after_the_other(replicas: list[Desk]) -> None:
    at_once([partial(desk.issuer.keys.rotate_now, drop_current=False, by="root") for desk in replicas])
    found = replicas[0].store.keys()
    states = sorted(key.record.state for key in found)
    assert states == ["current", "next", "previous", "previous", "previous"]


@pytest.mark.parametrize("what", ["assertion", "code", "device", "refresh"])
def test_what_is_good_once_is_good_once_among_all(replicas: list[Desk], what: str) -> None:
    people = [PeopleStore(desk.store) for desk in replicas]

    def use(number: int) -> bool:
        desk, one = replicas[number], people[number]
        with desk.store.change():
            if what == "assertion":
                return desk.store.remember_assertion("ada", "id", 9e9)
            if what == "device":
                return one.forget_device("secret")
            if what == "code":
                code = one.take_code("secret")
                return code is not None and not code.used
            token = one.refresh_token("secret")
            assert token is not None
            one.use_refresh_token("secret")
            return not token.used

    for _ in range(ROUNDS):
        with replicas[0].store.change():
            sign_in = SignIn(
                sign_in_id=f"s{time.monotonic_ns()}",
                client_id="app",
                subject="eve",
                scope=(),
                audience=(),
                expires_s=9e9,
            )
            people[0].put_sign_in(sign_in)
            replicas[0].store.rows("DELETE FROM assertions")
            replicas[0].store.rows("DELETE FROM refresh_tokens")
            replicas[0].store.rows("DELETE FROM codes")
            people[0].put_code(
                "secret", Code(sign_in_id=sign_in.sign_in_id, redirect_uri="", challenge="", expires_s=9e9)
            )
            people[0].put_refresh_token("secret", RefreshToken(sign_in_id=sign_in.sign_in_id, expires_s=9e9))
            people[0].put_device(
                "secret",
                Device(user_code="BCDF", client_id="app", scope=None, audience=(), expires_s=9e9, state="allowed"),
            )
        outcomes = at_once([partial(use, number) for number in range(3)])
        assert [outcomes.count(each) for each in (True, False)] == [1, 2], outcomes
        with replicas[0].store.change():
            people[0].forget_device("secret")


def test_a_revocation_is_heard_of_by_the_others(replicas: list[Desk]) -> None:
    first, second, _ = replicas
    heard = threading.Event()
    second.store.listen(heard.set)
    token = first.token("ada").access_token
    assert second.issuer.introspect(token, second.client("root"))["active"] is True
    first.issuer.revoke(token, first.client("root"))
    assert heard.wait(timeout=30)
    second.issuer.follow()
    assert second.issuer.introspect(token, second.client("root")) == {"active": False}
    revision = second.issuer.revision
    second.issuer.follow()
    assert second.issuer.revision == revision, "nothing new is no news"


def test_guesses_are_counted_by_all_together(replicas: list[Desk]) -> None:
    attempts = [Attempts(desk.store, desk.clock) for desk in replicas]
    many: list[Callable[[], float]] = [partial(one.begin, "eve") for one in attempts for _ in range(FREE_FAILURES)]
    for calls in (many[0::FREE_FAILURES], many[1::FREE_FAILURES], many[2::FREE_FAILURES]):
        outcomes = at_once(calls)  # a store is for one thread at a time
        assert not any(isinstance(each, Exception) for each in outcomes), outcomes
    assert all(one.begin("eve") > 0 for one in attempts), "nine guesses, of which six were looked at"
    ((failures,),) = replicas[0].store.rows("SELECT failures FROM attempts")
    assert failures == FREE_FAILURES + 1
    attempts[0].succeeded("eve")
    assert attempts[1].begin("eve") == 0


def test_a_deleted_client_gets_no_token_from_any(replicas: list[Desk]) -> None:
    first, second, _ = replicas
    secret = first.issuer.clientele.create("app", tenant="team", roles=("reader",), by="root")
    app = second.issuer.authenticate(Credentials("app", secret))
    assert second.issuer.issue(PLAIN, app).access_token
    issued = second.events().count("token-issued")
    first.issuer.clientele.delete("app", by="root")
    with pytest.raises(OAuthError):
        second.issuer.issue(PLAIN, app)  # it had proved itself just before
    with pytest.raises(OAuthError):
        second.issuer.authenticate(Credentials("app", secret))
    assert second.events().count("token-issued") == issued


def test_many_changes_of_all_leave_one_history(replicas: list[Desk]) -> None:
    before = len(replicas[0].lines())
    clients = [desk.client("ada") for desk in replicas]

    def issue_many(number: int) -> int:
        for _ in range(20):
            replicas[number].issuer.issue(PLAIN, clients[number])
        return 20

    at_once([partial(issue_many, number) for number in range(3)])
    ids = [line.id for line in replicas[0].lines()]
    assert len(ids) == before + 60
    assert ids == sorted(set(ids))


def test_a_replica_that_hangs_in_a_change_loses_it(
    replicas: list[Desk], monkeypatch: pytest.MonkeyPatch, url_file: Path
) -> None:
    monkeypatch.setitem(postgresql_engine.SETTINGS, "idle_in_transaction_session_timeout", "1s")
    hung = open_shared_store(url_file)
    begun = threading.Event()

    def hang() -> None:
        with hung.change():
            hung.put_watermark("subject", "eve", 5.0)
            begun.set()
            replicas[0].issuer.clientele.revoke_all("subject", "bob", by="root")  # waits for the lock of `hung`

    try:
        with pytest.raises(UnreachableError):
            hang()
        assert begun.is_set()
        assert list(replicas[0].store.watermarks("subject")) == ["bob"]
        with hung.change():  # it goes on with a new connection
            hung.put_watermark("subject", "eve", 6.0)
    finally:
        hung.close()


def test_a_connection_that_hangs_is_given_up(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_shared_store(url_file).close()  # making the tables may take longer
    monkeypatch.setattr(postgresql_engine, "ANSWER_TIMEOUT_S", 2.0)
    store = open_shared_store(url_file)
    ((backend,),) = store.rows("SELECT pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(UnreachableError, match="Timeout"):
            store.clients()
        assert store.clients() == []
        assert store.rows("SELECT pg_backend_pid()") != [(backend,)]
    finally:
        os.kill(backend, signal.SIGCONT)
        store.close()


def test_a_server_that_crashes_is_survived(tmp_path: Path) -> None:
    cluster = Cluster()
    url_file = tmp_path / "database-url"
    desk = Desk(tmp_path, url_file)
    try:
        cluster.make()
        cluster.start()
        url_file.write_text(cluster.dsn())
        desk.start()
        token = desk.token("ada").access_token
        client = desk.client("ada")
        cluster.crash()
        for _ in range(2):
            with pytest.raises(UnreachableError):
                desk.issuer.issue(PLAIN, client)
        cluster.start()
        assert desk.issuer.issue(PLAIN, client).access_token
        assert desk.events().count("token-issued") == 2
        assert desk.issuer.introspect(token, desk.client("root"))["active"] is True
    finally:
        desk.stop()
        cluster.remove()


def test_a_user_without_more_rights_than_it_needs(
    postgresql_cluster: Cluster, token_database: str, url_file: Path, tmp_path: Path
) -> None:
    postgresql_cluster.sql("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN")
    postgresql_cluster.sql(f"GRANT CREATE ON DATABASE {token_database} TO plain")
    url_file.write_text(postgresql_cluster.dsn(token_database, user="plain"))
    desk = Desk(tmp_path, url_file)
    try:
        desk.start()
        before = desk.lines()
        for statement in ("UPDATE audit SET event = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(StateError, match="permission denied"):
                desk.store.rows(statement)
        assert desk.lines() == before
    finally:
        desk.stop()


def test_tables_of_an_older_release_are_brought_up_to_date(
    postgresql_cluster: Cluster, token_database: str, url_file: Path
) -> None:
    open_shared_store(url_file).close()
    older = "DROP TABLE form_keys; DROP TABLE attempts; UPDATE format SET version = 1"
    postgresql_cluster.sql(f"SET search_path = {SCHEMA}; {older}", token_database)
    stores = [open_shared_store(url_file) for _ in range(2)]
    try:
        assert len({store.form_key() for store in stores}) == 1, "and a form that one showed, the other takes"
        assert stores[0].rows("SELECT max(version) FROM format") == [(VERSION,)]
    finally:
        for store in stores:
            store.close()


@pytest.mark.parametrize("fault", ["newer", "nobody", "silent", "nowhere"])
def test_a_database_that_is_not_ours_is_refused_by_name_without_its_password(
    postgresql_cluster: Cluster, token_database: str, url_file: Path, fault: str
) -> None:
    address = postgresql_cluster.dsn(token_database)
    if fault == "newer":
        open_shared_store(url_file).close()
        postgresql_cluster.sql(f"INSERT INTO {SCHEMA}.format VALUES ({VERSION + 1})", token_database)  # noqa: S608 - ours
    if fault == "nobody":
        address = postgresql_cluster.dsn(token_database, user="nobody-there")
    if fault == "silent":
        address = "postgresql://eve:hush@127.0.0.1:1/tokens"
    if fault == "nowhere":
        address = postgresql_cluster.dsn("no_such_database")
    url_file.write_text(address)
    kind = UnreachableError if fault in ("silent", "nobody") else StateError
    with pytest.raises(kind, match="postgresql://") as refusal:
        open_shared_store(url_file)
    assert "hush" not in str(refusal.value)
