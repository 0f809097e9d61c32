"""Tokens, clients, roles, keys and the audit log from the command line; how soon a revocation is in force."""

import json
import ssl
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.running_grid import RunningGrid, eventually, grid_document, running_grid

READ = "/memory/v1/memories"
#: What a test may assert on a busy machine; the figure itself is printed (`pytest -rP`) and in docs/tokens.md.
REVOKED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def own_grid() -> Iterator[RunningGrid]:
    """Withdrawing keys would end the tokens of other tests."""
    with running_grid(grid_document(name="administered")) as running:
        yield running


def doors(grid: RunningGrid) -> dict[str, str]:
    """Where a request can come in: the gateway, and the private ports of our services."""
    services = grid.document["services"]
    tokens = f"http://127.0.0.1:{grid.document['auth']['port']}/tokens/v1/roles"
    private = {name: f"http://127.0.0.1:{services[name]['port']}" for name in ("memory", "rag")}
    return {
        "gateway": grid.address + READ,
        "memory": private["memory"] + READ,
        "rag": private["rag"] + "/rag/v1/documents",
        "tokens": tokens,
    }


def status_of(grid: RunningGrid, token: str) -> int:
    with grid.client(token) as client:
        return client.get(READ).status_code


def inspected(grid: RunningGrid, token: str) -> dict[str, object]:
    done = grid.cli("token", "inspect", token, "--json")
    document: dict[str, object] = json.loads(done.stdout)
    assert (done.returncode == 0) == document["good"], done.stderr
    return document


def test_a_client_is_made_used_and_deleted(own_grid: RunningGrid) -> None:
    made = own_grid.json("client", "create", "nightly", "--role", "reader")
    with own_grid.client() as client:
        auth = ("nightly", made["client_secret"])
        answer = client.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=auth)
        token = answer.json()["access_token"]
    assert status_of(own_grid, token) == 200
    assert "nightly" in own_grid.ok("client", "list")
    listed = {one["client_id"]: one for one in own_grid.json("client", "list")["clients"]}
    assert (listed["nightly"]["roles"], listed["nightly"]["declared"], listed["admin"]["declared"]) == (
        ["reader"],
        False,
        True,
    )
    assert "'sub': 'nightly'" in str(inspected(own_grid, token)["claims"])
    assert own_grid.json("client", "delete", "nightly", "--yes")["deleted"]
    eventually(lambda: status_of(own_grid, token) == 401, "the deleted client's token is refused")
    assert "revoked" in str(inspected(own_grid, token)["fault"])
    refused = own_grid.cli("client", "delete", "admin", "--yes")
    assert (refused.returncode, "declared in the settings" in refused.stderr) == (1, True)
    assert own_grid.cli("client", "delete", "nightly").returncode == 130, "it asks, and nobody answered"


def test_roles_and_the_audit_log_are_shown(own_grid: RunningGrid) -> None:
    assert own_grid.json("role", "show", "reader")["roles"][0]["permissions"] == [
        "chromadb:read", "memory:read", "rag:read", "vllm:infer",
    ]  # fmt: skip
    assert own_grid.cli("role", "show", "king").returncode == 2
    own_grid.json("token", "issue", "--role", "vllm-service")
    lines = own_grid.json("audit", "--subject", "vllm-service", "--since", "1h")["events"]
    assert [line["event"] for line in lines][-1] == "token-issued"
    assert {line["client_id"] for line in lines} == {"vllm-service"}
    assert "keys-changed" in own_grid.ok("audit")


def test_a_bad_token_is_told_why(own_grid: RunningGrid) -> None:
    token = own_grid.token("reader")
    assert inspected(own_grid, token)["fault"] is None
    assert "signature" in str(inspected(own_grid, token[:-6] + "AAAAAA")["fault"])


def test_what_cannot_be_revoked_is_not_said_to_be(own_grid: RunningGrid) -> None:
    """In a hurry half a token is copied, or a name mistyped: "worthless from now on" would calm wrongly."""
    token = own_grid.json("token", "issue", "--role", "reader")["access_token"]
    for words in ([token[:-1]], [token.partition(".")[2]], ["--client", "raeder"], ["--subject", "raeder"]):
        refused = own_grid.cli("token", "revoke", *words)
        assert (refused.returncode, "nothing was revoked" in refused.stderr) == (2, True), refused.stderr
    assert status_of(own_grid, token) == 200
    assert own_grid.json("token", "revoke", token) == {"revoked": "token"}
    eventually(lambda: status_of(own_grid, token) == 401, "the token is refused")


def test_a_withdrawn_key_ends_every_token_that_it_signed(own_grid: RunningGrid) -> None:
    token = own_grid.json("token", "issue", "--role", "reader")["access_token"]
    before = {key["state"]: key["kid"] for key in own_grid.json("key", "list")["keys"]}
    own_grid.ok("key", "rotate", "--json")
    assert status_of(own_grid, token) == 200, "a rotation ends nothing"
    after = own_grid.json("key", "withdraw", before["current"], "--yes")["keys"]
    assert before["current"] not in {key["kid"] for key in after}
    assert next(key["kid"] for key in after if key["state"] == "current") == before["next"]
    eventually(lambda: status_of(own_grid, token) == 401, "a token of the withdrawn key is refused")
    fresh = own_grid.json("token", "issue", "--role", "reader")["access_token"]
    eventually(lambda: status_of(own_grid, fresh) == 200, "a token of the new key is taken")
    own_grid.tokens.clear()


def first_refusal_s(url: str, token: str, trust: ssl.SSLContext, *, fresh: bool) -> float:
    """When the token was refused for the first time, monotonic seconds; `fresh`: over a new connection each time."""
    until_s = time.monotonic() + REVOKED_WITHIN_S
    with httpx.Client(verify=trust, trust_env=False) as kept:
        while time.monotonic() < until_s:
            # a reader may not look into the token service: there, 403 is the answer to a good token
            headers = {"Authorization": f"Bearer {token}", **({"Connection": "close"} if fresh else {})}
            if kept.get(url, headers=headers).status_code == 401:
                return time.monotonic()
    pytest.fail(f"{url}: the revoked token is still taken")


@pytest.mark.parametrize("what", ["token", "client", "subject"])
def test_the_first_refusal_comes_soon_after_a_revocation(own_grid: RunningGrid, what: str) -> None:
    """Through the whole chain: token service, controller, every worker of the gateway and each service by itself."""
    own_grid.tokens.clear()
    places = doors(own_grid)
    took_s: dict[str, list[float]] = defaultdict(list)
    secret = (own_grid.state / "secrets" / "clients" / "admin").read_text()
    reader = (own_grid.state / "secrets" / "clients" / "reader").read_text()
    trust = ssl.create_default_context(cafile=str(own_grid.authority))
    pool = ThreadPoolExecutor(len(places))
    with pool, own_grid.client() as client, own_grid.client(own_grid.token("admin")) as admin:
        for _ in range(9):
            form = {"grant_type": "client_credentials"}
            token = client.post("/oauth2/token", data=form, auth=("reader", reader)).json()["access_token"]
            bearer = {"Authorization": f"Bearer {token}"}
            seen = {door: httpx.get(url, headers=bearer, verify=trust).status_code for door, url in places.items()}
            assert seen == {"gateway": 200, "memory": 200, "rag": 200, "tokens": 403}
            if what == "token":
                answer = client.post("/oauth2/revoke", data={"token": token}, auth=("admin", secret))
            else:
                body = {"client_id" if what == "client" else "subject": "reader"}
                answer = admin.post("/tokens/v1/revocations", json=body)
            revoked_s = time.monotonic()
            assert answer.status_code == 200, answer.text
            looks = {
                door: pool.submit(first_refusal_s, url, token, trust, fresh=door == "gateway")
                for door, url in places.items()
            }
            for door, look in looks.items():
                took_s[door].append(look.result() - revoked_s)
    for door, times in took_s.items():
        figure = f"{statistics.median(times) * 1000:.0f} ms (median of 9), {max(times) * 1000:.0f} ms at most"
        print(f"\nrevocation of a {what}: first refusal by {door} after {figure}")  # noqa: T201 - what is measured
