"""What a client of the token service sees, over real HTTP."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragrid.identity.keys import KeyFile
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.identity.verify import InvalidTokenError, TokenVerifier
from ragrid.services.tokens.assertion import ASSERTION_TYPE
from ragrid.services.tokens.exchange import ACCESS_TOKEN
from ragrid.services.tokens.grants import TOKEN_EXCHANGE
from ragrid.services.tokens.sqlite_engine import FILE_NAME
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import SystemClock
from support.token_mint import TokenMint
from support.token_service import ISSUER, TokenService


def _verifier(service: TokenService, folder: Path, audience: str = "memory") -> TokenVerifier:
    path = folder / "jwks.json"
    path.write_bytes(service.http.get("/.well-known/jwks.json").content)
    clock = SystemClock()
    return TokenVerifier(TokenTrust(issuer=ISSUER, audience=audience, jwks_file=path), KeyFile(path, clock), clock)


def test_a_token_is_good_for_a_service_that_has_only_the_key_file(shared: TokenService, tmp_path: Path) -> None:
    answer = shared.ask("reader")
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    claims = _verifier(shared, tmp_path).verify(body["access_token"])
    assert (claims.client_id, claims.tenant, claims.roles) == ("reader", "default_tenant", ("reader",))
    assert shared.ask("memory").json()["expires_in"] == 86_400


def test_scope_and_audience_narrow(shared: TokenService, tmp_path: Path) -> None:
    token = shared.token("reader", scope="memory:read", audience="memory")
    assert _verifier(shared, tmp_path).verify(token).permissions == {"memory:read"}
    with pytest.raises(InvalidTokenError, match="aud"):
        _verifier(shared, tmp_path, "rag").verify(token)
    refused = shared.ask("reader", scope="memory:write")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize("auth", [("reader", "wrong"), ("nobody", "x" * 43), ("", "")])
def test_strangers_get_401_in_oauths_words(shared: TokenService, auth: tuple[str, str]) -> None:
    answer = shared.http.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=auth)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.headers["cache-control"] == "no-store"


def test_a_post_with_the_secret_in_the_body_works_and_json_does_not(shared: TokenService) -> None:
    form = {"grant_type": "client_credentials", "client_id": "reader", "client_secret": shared.secrets["reader"]}
    assert shared.http.post("/oauth2/token", data=form).status_code == 200
    refused = shared.http.post("/oauth2/token", json=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert shared.http.get("/oauth2/token").status_code == 405
    assert shared.http.post("/oauth2/token", data={"grant_type": "x" * 20_000}).status_code == 413


def test_the_well_known_documents(shared: TokenService) -> None:
    answer = shared.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert [set(key) for key in answer.json()["keys"]] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}] * 2
    known = shared.http.get("/.well-known/oauth-authorization-server").json()
    assert (known["issuer"], known["jwks_uri"]) == (ISSUER, f"{ISSUER}/.well-known/jwks.json")


def test_introspection_and_revocation(shared: TokenService) -> None:
    token, owner = shared.token("reader"), ("reader", shared.secrets["reader"])
    seen = shared.http.post("/oauth2/introspect", data={"token": token}, auth=owner).json()
    assert (seen["active"], seen["client_id"]) == (True, "reader")
    assert shared.http.post("/oauth2/introspect", data={"token": token}).status_code == 401
    assert shared.http.post("/oauth2/revoke", data={"token": token}).status_code == 401
    for _ in range(2):
        answer = shared.http.post("/oauth2/revoke", data={"token": token}, auth=owner)
        assert (answer.status_code, answer.content) == (200, b"")
    assert shared.http.post("/oauth2/introspect", data={"token": token}, auth=owner).json() == {"active": False}
    revoked = shared.http.get("/revocations").json()["revoked"]
    assert {"jti": seen["jti"], "exp": float(seen["exp"])} in revoked


def test_the_controller_is_answered_when_something_changes_and_after_a_second(shared: TokenService) -> None:
    known = shared.http.get("/revocations").json()
    began_s = time.monotonic()
    assert shared.http.get("/revocations", params={"after": known["revision"]}).json() == known
    assert 0.9 < time.monotonic() - began_s < 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shared.http.get, "/revocations", params={"after": known["revision"]})
        admin = shared.bearer("root")
        ended = shared.http.post("/tokens/v1/revocations", json={"subject": "somebody"}, headers=admin)
        answer = waiting.result().json()
    assert answer["revision"] != known["revision"]
    assert answer["subjects"]["somebody"] == ended.json()["not_before_s"]


@pytest.mark.parametrize("body", [{}, {"client_id": "a", "subject": "b"}, {"subject": ""}, {"subject": "a b"}])
def test_ending_tokens_needs_one_name(shared: TokenService, body: dict[str, str]) -> None:
    answer = shared.http.post("/tokens/v1/revocations", json=body, headers=shared.bearer("root"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-body")


def test_all_tokens_of_a_client_end_at_the_service_itself_too(shared: TokenService) -> None:
    old = shared.bearer("root")
    assert shared.http.post("/tokens/v1/revocations", json={"client_id": "root"}, headers=old).status_code == 200
    assert shared.http.get("/tokens/v1/clients", headers=old).status_code == 401
    assert shared.http.get("/tokens/v1/clients", headers=shared.bearer("root")).status_code == 200


def test_roles_and_keys_are_shown(shared: TokenService) -> None:
    admin = shared.bearer("root")
    roles = {one["role"]: one for one in shared.http.get("/tokens/v1/roles", headers=admin).json()["roles"]}
    assert roles["reader"]["permissions"] == sorted(BUILTIN_ROLES["reader"])
    assert (roles["reader"]["builtin"], roles["cook"]) == (
        True,
        {"role": "cook", "permissions": ["rag:read"], "builtin": False},
    )
    keys = shared.http.get("/tokens/v1/keys", headers=admin).json()["keys"]
    assert [key["state"] for key in keys] == ["next", "current"]
    assert [key["kid"] for key in shared.jwks()["keys"]] == [key["kid"] for key in keys]


def test_administration_needs_the_permission(shared: TokenService) -> None:
    assert shared.http.get("/tokens/v1/clients").status_code == 401
    assert shared.http.get("/tokens/v1/clients", headers=shared.bearer("reader")).status_code == 403
    names = [client["client_id"] for client in _clients(shared)]
    assert names == ["memory", "ragrid", "reader", "root"]


def _clients(service: TokenService) -> list[dict[str, object]]:
    answer = service.http.get("/tokens/v1/clients", headers=service.bearer("root"))
    clients: list[dict[str, object]] = answer.json()["clients"]
    assert "secret" not in answer.text
    return clients


def test_a_client_comes_and_goes(shared: TokenService) -> None:
    admin = shared.bearer("root")
    wanted = {"client_id": "visitor", "roles": ["writer"], "tenant": "team"}
    created = shared.http.post("/tokens/v1/clients", json=wanted, headers=admin)
    assert (created.status_code, created.headers["cache-control"]) == (201, "no-store")
    shared.secrets["visitor"] = created.json()["client_secret"]
    token = shared.token("visitor")
    assert shared.http.post("/tokens/v1/clients", json=wanted, headers=admin).json()["code"] == "client-exists"
    assert shared.http.delete("/tokens/v1/clients/visitor", headers=admin).status_code == 204
    assert shared.http.delete("/tokens/v1/clients/visitor", headers=admin).status_code == 404
    assert shared.http.delete("/tokens/v1/clients/root", headers=admin).json()["code"] == "client-declared"
    assert shared.ask("visitor").status_code == 401
    auth = ("root", shared.secrets["root"])
    assert shared.http.post("/oauth2/introspect", data={"token": token}, auth=auth).json() == {"active": False}


def test_a_client_proves_itself_with_a_key_and_a_service_acts_for_it(shared: TokenService) -> None:
    mint = TokenMint()
    private = mint.key.as_dict(private=True)
    wanted = {"client_id": "bot", "roles": ["reader"], "jwks": json.loads(mint.jwks)}
    admin = shared.bearer("root")
    refused = shared.http.post("/tokens/v1/clients", json={**wanted, "jwks": {"keys": [private]}}, headers=admin)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/jwks")
    assert str(private["d"]) not in refused.text
    made = shared.http.post("/tokens/v1/clients", json=wanted, headers=admin)
    assert (made.status_code, "client_secret" in made.json()) == (201, False)
    claims = {"iss": "bot", "sub": "bot", "aud": ISSUER, "exp": time.time() + 60, "jti": "one"}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": mint.raw(json.dumps(mint.header(typ="JWT")), json.dumps(claims)),
    }
    token = shared.http.post("/oauth2/token", data=form).json()["access_token"]
    assert shared.http.post("/oauth2/token", data=form).json()["error"] == "invalid_client", "it was used before"
    swap = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
    auth = ("memory", shared.secrets["memory"])
    acting = shared.http.post("/oauth2/token", data=swap, auth=auth).json()["access_token"]
    seen = shared.http.post("/oauth2/introspect", data={"token": acting}, auth=auth).json()
    assert (seen["sub"], seen["client_id"], seen["act"]) == ("bot", "memory", {"sub": "memory"})
    assert shared.http.delete("/tokens/v1/clients/bot", headers=admin).status_code == 204


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"roles": ["reader"]}, "/client_id"),
        ({"client_id": "a b", "roles": ["reader"]}, "/client_id"),
        ({"client_id": "a", "roles": ["king"]}, "/roles"),
        ({"client_id": "a", "roles": []}, "/roles"),
        ({"client_id": "a", "roles": ["reader"], "tenant": "../x"}, "/tenant"),
        ({"client_id": "a", "roles": ["reader"], "secret": "mine"}, "/secret"),
    ],
)
def test_a_bad_client_is_422(shared: TokenService, body: dict[str, object], pointer: str) -> None:
    answer = shared.http.post("/tokens/v1/clients", json=body, headers=shared.bearer("root"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_audit_log_is_read_in_pages(shared: TokenService) -> None:
    admin = shared.bearer("root")
    first = shared.http.get("/tokens/v1/audit", params={"limit": 2}, headers=admin).json()
    assert [event["event"] for event in first["events"]] == ["keys-changed", "client-created"]
    rest = shared.http.get("/tokens/v1/audit", params={"after": first["next"], "limit": 1000}, headers=admin).json()
    assert rest["events"][-1]["event"] == "token-issued"
    assert [event["id"] for event in rest["events"]] == list(range(3, 3 + len(rest["events"])))
    later = {"since": str(int(time.time()) + 3600)}
    assert shared.http.get("/tokens/v1/audit", params=later, headers=admin).json()["events"] == []
    named = shared.http.get("/tokens/v1/audit", params={"subject": "memory"}, headers=admin).json()["events"]
    assert {event["client_id"] for event in named} == {"memory"}
    for bad in (
        {"since": "x"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"after": "x"},
        {"after": "9" * 30},
        {"after": "٣"},
    ):
        assert shared.http.get("/tokens/v1/audit", params=bad, headers=admin).status_code == 422


def test_health_metrics_and_modes(shared: TokenService) -> None:
    assert shared.http.get("/readyz").json()["clients"] == 4
    shared.token("reader")
    text = shared.http.get("/metrics").text
    for name in ("ragrid_tokens_issued_total", "ragrid_tokens_key_age_seconds", "ragrid_http_requests_total"):
        assert f"\n{name}" in text
    assert shared.data.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in shared.data.iterdir()} == {0o600}
    assert (shared.data / FILE_NAME).exists()


def test_no_secret_and_no_token_is_in_the_log(shared: TokenService) -> None:
    token = shared.token("reader")
    shared.http.get("/nothing", headers={"Authorization": f"Bearer {token}"})
    assert token not in shared.log
    assert not any(secret in shared.log for secret in shared.secrets.values())


def test_keys_rotate_by_themselves_and_old_tokens_stay_good(service: TokenService, tmp_path: Path) -> None:
    service.key_rotation_s = 4.0
    service.start()
    token, before = service.token("reader"), service.jwks()["keys"]
    deadline_s = time.monotonic() + 20
    while service.jwks()["keys"] == before and time.monotonic() < deadline_s:
        time.sleep(0.2)
    after = service.jwks()["keys"]
    assert after[1]["kid"] == before[0]["kid"], "the published next key signs now"
    assert before[1]["kid"] in [key["kid"] for key in after[2:]]
    verifier = _verifier(service, tmp_path)
    assert verifier.verify(token).client_id == verifier.verify(service.token("reader")).client_id == "reader"


def test_a_withdrawn_key_takes_its_tokens_along(service: TokenService, tmp_path: Path) -> None:
    service.start()
    token, admin = service.token("reader"), service.bearer("root")
    kid = service.jwks()["keys"][1]["kid"]
    assert service.http.delete("/tokens/v1/keys/nobody", headers=admin).json()["code"] == "unknown-key"
    answer = service.http.delete(f"/tokens/v1/keys/{kid}", headers=admin)
    assert [key["state"] for key in answer.json()["keys"]] == ["next", "current"]
    with pytest.raises(InvalidTokenError):
        _verifier(service, tmp_path).verify(token)
    assert service.http.get("/tokens/v1/keys", headers=admin).status_code == 401
    events = service.http.get("/tokens/v1/audit", params={"limit": 1000}, headers=service.bearer("root")).json()[
        "events"
    ]
    assert [event["details"]["by"] for event in events if event["event"] == "keys-changed"] == ["start", "root"]


def test_a_leaked_key_is_dropped_on_demand(service: TokenService, tmp_path: Path) -> None:
    service.start()
    token, admin = service.token("reader"), service.bearer("root")
    answer = service.http.post("/tokens/v1/keys/rotate", json={"drop_current": True}, headers=admin)
    assert [key["state"] for key in answer.json()["keys"]] == ["next", "current"]
    with pytest.raises(InvalidTokenError):
        _verifier(service, tmp_path).verify(token)
    assert service.http.get("/tokens/v1/clients", headers=admin).status_code == 401
    assert _verifier(service, tmp_path).verify(service.token("reader")).client_id == "reader"
