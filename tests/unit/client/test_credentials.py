"""A token is asked for once, renewed early, and used to its end when nobody renews it."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from ragrid.client import Answer, AsyncClientCredentials, AsyncGridClient, ClientCredentials, GridClient, PrivateKey
from ragrid.client.renewal import EARLIEST, LATEST, LONGEST_PAUSE_S, hold
from ragrid.errors import AuthError, StateError, UnreachableError
from ragrid.services.tokens.assertion import read_assertion
from ragrid.services.tokens.clients import Client
from ragrid.system.clock import ManualClock
from support.keys import rsa_key

ADDRESS = "http://127.0.0.1:1"
LIFE_S = 600


class TokenService:
    """Answers t1, t2, …; away while `is_away`."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.is_away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("refused")
        self.asked.append(request.content)
        return httpx.Response(200, json={"access_token": f"t{len(self.asked)}", "expires_in": LIFE_S})


@pytest.fixture
def service() -> TokenService:
    return TokenService()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(service: TokenService, clock: ManualClock) -> ClientCredentials:
    client = GridClient(ADDRESS, transport=httpx.MockTransport(service))
    return ClientCredentials(
        client, "me", "secret", scope="rag:read", clock=clock, chance=lambda: 0.0, run=lambda work: work()
    )


def test_a_token_is_kept_until_it_is_renewed_early(
    tokens: ClientCredentials, service: TokenService, clock: ManualClock
) -> None:
    assert [tokens(), tokens()] == ["t1", "t1"]
    clock.advance(LIFE_S * EARLIEST - 1)
    assert tokens() == "t1"
    clock.advance(1)
    assert [tokens(), tokens()] == ["t1", "t2"], "who notices does not wait"
    assert service.asked == [b"grant_type=client_credentials&scope=rag%3Aread"] * 2


def test_a_dead_token_service_is_survived_until_the_token_ends(
    tokens: ClientCredentials, service: TokenService, clock: ManualClock
) -> None:
    assert tokens() == "t1"
    service.is_away = True
    for _ in range(LIFE_S - 10):
        clock.advance(1)
        assert tokens() == "t1"
    clock.advance(9)
    with pytest.raises(UnreachableError):
        tokens()
    service.is_away = False
    assert tokens() == "t2"


def test_a_service_that_comes_back_is_asked_soon(
    tokens: ClientCredentials, service: TokenService, clock: ManualClock
) -> None:
    tokens()
    service.is_away = True
    clock.advance(LIFE_S * EARLIEST)
    for _ in range(60):
        tokens()
        clock.advance(1)
    service.is_away = False
    before_s = clock.monotonic_s()
    while tokens() == "t1":
        clock.advance(1)
    assert clock.monotonic_s() - before_s <= LONGEST_PAUSE_S + 1


def test_one_thread_renews_and_no_other_waits(service: TokenService, clock: ManualClock) -> None:
    gate, entered = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        if service.asked:
            entered.set()
            gate.wait(5)
        return service(request)

    fresh = ClientCredentials(GridClient(ADDRESS, transport=httpx.MockTransport(slow)), "me", "secret", clock=clock)
    assert fresh() == "t1"
    clock.advance(LIFE_S * LATEST)
    assert fresh() == "t1"
    assert entered.wait(5)
    assert [fresh() for _ in range(50)] == ["t1"] * 50
    gate.set()
    with fresh._lock:  # the renewal holds it to its end
        pass
    assert (fresh(), len(service.asked)) == ("t2", 2)


async def test_the_same_without_threads(service: TokenService, clock: ManualClock) -> None:
    client = AsyncGridClient(ADDRESS, transport=httpx.MockTransport(service))
    tokens = AsyncClientCredentials(client, "me", "secret", clock=clock, chance=lambda: 0.0)
    assert set(await asyncio.gather(*(tokens() for _ in range(20)))) == {"t1"}
    assert len(service.asked) == 1
    clock.advance(LIFE_S * EARLIEST)
    assert await tokens() == "t1"
    assert tokens._renewal is not None
    await tokens._renewal
    assert await tokens() == "t2"
    service.is_away = True
    clock.advance(LIFE_S - 6)
    assert await tokens() == "t2"
    await tokens._renewal
    clock.advance(6)
    with pytest.raises(UnreachableError):
        await tokens()
    await tokens.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_token_whose_key_was_withdrawn_is_replaced_at_once(
    service: TokenService, clock: ManualClock, is_async: bool
) -> None:
    withdrawn: set[str] = set()
    seen: list[str] = []

    def grid(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/oauth2/token":
            return service(request)
        seen.append(request.headers["authorization"])
        return httpx.Response(401 if seen[-1] in withdrawn else 200, json={"answer": "yes"})

    transport = httpx.MockTransport(grid)
    if is_async:
        source = AsyncClientCredentials(AsyncGridClient(ADDRESS, transport=transport), "me", "secret", clock=clock)
        ask = AsyncGridClient(ADDRESS, transport=transport, token=source).ask
    else:
        held = ClientCredentials(GridClient(ADDRESS, transport=transport), "me", "secret", clock=clock)
        client = GridClient(ADDRESS, transport=transport, token=held)

        async def ask(question: str, k: int = 5) -> Answer:
            return client.ask(question, k)

    await ask("?")
    withdrawn.add("Bearer t1")
    with pytest.raises(AuthError):
        await ask("?")  # it was just asked for: another one would be no better
    clock.advance(60)
    assert (await ask("?")).answer == "yes"
    assert seen == ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_client_that_is_no_longer_known_fails_when_its_token_ends(clock: ManualClock) -> None:
    answers: list[Callable[[], httpx.Response]] = [
        lambda: httpx.Response(200, json={"access_token": "t1", "expires_in": LIFE_S}),
        lambda: httpx.Response(401, json={"error": "invalid_client"}),
    ]
    transport = httpx.MockTransport(lambda _: answers[0 if clock.monotonic_s() == 0 else 1]())
    tokens = ClientCredentials(GridClient(ADDRESS, transport=transport), "me", "secret", clock=clock)
    assert tokens() == "t1"
    clock.advance(LIFE_S)
    with pytest.raises(AuthError):
        tokens()


@given(st.floats(0, 1), st.floats(0.001, 1e6), st.floats(0, 1e9))
def test_every_token_is_renewed_before_it_ends(chance: float, life_s: float, asked_s: float) -> None:
    held = hold("t", life_s, asked_s=asked_s, chance=chance)
    assert asked_s <= held.renew_at_s <= held.ends_s + 1e-6  # of a float
    assert held.ends_s <= asked_s + life_s


def test_programs_that_start_together_do_not_renew_together() -> None:
    times = {hold("t", 86_400, asked_s=0, chance=number / 100).renew_at_s for number in range(101)}
    assert len(times) == 101
    assert min(times) == pytest.approx(86_400 * EARLIEST)
    assert max(times) == pytest.approx(86_400 * LATEST)


def key_file(folder: Path, key: jwk.Key, **members: object) -> Path:
    path = folder / "key.json"
    path.write_text(json.dumps({**key.as_dict(private=True), **members}))
    return path


@pytest.mark.parametrize(
    "key",
    [jwk.ECKey.generate_key("P-256"), rsa_key(), jwk.OKPKey.generate_key("Ed25519")],
    ids=["ES256", "RS256", "Ed25519"],
)
def test_a_key_proves_a_client_as_the_token_service_wants_it(
    tmp_path: Path, service: TokenService, clock: ManualClock, key: jwk.Key
) -> None:
    proof = PrivateKey.read(key_file(tmp_path, key, kid="mine"))
    client = GridClient(ADDRESS, transport=httpx.MockTransport(service))
    assert ClientCredentials(client, "nightly", proof, clock=clock)() == "t1"
    form = dict(pair.split("=") for pair in service.asked[0].decode().split("&"))
    assert form["client_id"] == "nightly"
    public = {"keys": [{**key.as_dict(private=False), "kid": "mine", "use": "sig", "alg": proof.algorithm}]}
    known = Client(
        client_id="nightly",
        tenant="team",
        roles=(),
        secret_hash=b"",
        declared=False,
        created_s=0,
        jwks=json.dumps(public),
    )
    ids = [read_assertion(form["client_assertion"], known, issuer=ADDRESS, now_s=clock.now_s())]
    again = proof.assertion("nightly", issuer=ADDRESS, now_s=clock.now_s())
    ids.append(read_assertion(again, known, issuer=ADDRESS, now_s=clock.now_s()))
    assert len({token_id for token_id, _ in ids}) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kty": "oct", "k": "c2VjcmV0"}', '{"kty": "EC", "crv": "P-384"}'])
def test_a_file_that_is_no_key_is_named_and_not_repeated(tmp_path: Path, content: str) -> None:
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(StateError, match=r"key\.json: no private key") as refused:
        PrivateKey.read(tmp_path / "key.json")
    assert "c2VjcmV0" not in str(refused.value)


def test_a_public_key_proves_nothing(tmp_path: Path) -> None:
    key = jwk.ECKey.generate_key("P-256")
    (tmp_path / "key.json").write_text(json.dumps(key.as_dict(private=False)))
    with pytest.raises(StateError, match="public key"):
        PrivateKey.read(tmp_path / "key.json")
    with pytest.raises(StateError, match="No such file"):
        PrivateKey.read(tmp_path / "none.json")


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    key = jwk.ECKey.generate_key("P-256")
    proof = PrivateKey.read(key_file(tmp_path, key))
    assert str(key.as_dict(private=True)["d"]) not in repr(proof)
    assert "t-o-k-e-n" not in repr(hold("t-o-k-e-n", 10, asked_s=0, chance=0))


def test_a_function_is_asked_before_each_request() -> None:
    tokens = iter(["one", "two"])
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, content=json.dumps({"answer": "yes"}))

    with GridClient("http://127.0.0.1:1", token=lambda: next(tokens), transport=httpx.MockTransport(answer)) as client:
        client.ask("?")
        client.ask("?")
    assert seen == ["Bearer one", "Bearer two"]


async def test_credentials_may_be_for_one_users_memories(service: TokenService, clock: ManualClock) -> None:
    transport = httpx.MockTransport(service)
    patterns = ("chat-*", "notes")
    source = ClientCredentials(
        GridClient(ADDRESS, transport=transport), "me", "s", clock=clock, memory_namespaces=patterns, memory_user="ada"
    )
    waited = AsyncClientCredentials(
        AsyncGridClient(ADDRESS, transport=transport), "me", "s", clock=clock, scope="memory:read", memory_user="bob"
    )
    assert (source(), await waited()) == ("t1", "t2")
    asked = [parse_qs(one.decode()) for one in service.asked]
    assert asked[0] == {
        "grant_type": ["client_credentials"],
        "memory_ns": ["chat-* notes"],
        "memory_user": ["ada"],
    }
    assert asked[1] == {"grant_type": ["client_credentials"], "scope": ["memory:read"], "memory_user": ["bob"]}
