"""What the token service survives, and what it refuses to start on."""

import base64
import json
import signal
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ragrid.services.tokens.sqlite_engine import FILE_NAME
from support.token_service import TokenService


def test_kill_and_restart_keep_clients_keys_revocations_and_the_audit_log(service: TokenService) -> None:
    service.start()
    admin = service.bearer("root")
    created = service.http.post("/tokens/v1/clients", json={"client_id": "bob", "roles": ["reader"]}, headers=admin)
    service.secrets["bob"] = created.json()["client_secret"]
    token = service.token("bob")
    service.http.post("/oauth2/revoke", data={"token": token}, auth=("bob", service.secrets["bob"]))
    keys, revoked = service.jwks(), service.http.get("/revocations").json()
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    service.start()
    assert service.jwks() == keys
    listed = service.http.get("/revocations").json()
    assert listed == {**revoked, "revision": listed["revision"]}
    assert listed["revision"] != revoked["revision"], "who waits for a change must hear of a restart"
    assert len(revoked["revoked"]) == 1
    assert service.http.get("/tokens/v1/clients", headers=admin).status_code == 200, "tokens live on"
    assert service.ask("bob").status_code == 200
    events = service.http.get("/tokens/v1/audit", headers=admin).json()["events"]
    assert {"client-created", "token-issued", "token-revoked"} <= {event["event"] for event in events}


def test_every_token_that_was_answered_is_in_the_audit_log_after_a_kill(service: TokenService) -> None:
    """Asks from four threads and kills in the middle; lost = answered and not written down = none."""
    service.start()

    def work(_: int) -> str | None:
        try:
            answer = service.ask("reader")
        except httpx.TransportError:
            return None
        return str(answer.json()["access_token"]) if answer.status_code == 200 else None

    with ThreadPoolExecutor(4) as pool:
        pending = [pool.submit(work, number) for number in range(1000)]
        for one in pending[:100]:
            one.result()
        service.end(signal.SIGKILL)
        answered = [token for one in pending if (token := one.result()) is not None]
    assert 100 <= len(answered) < 1000, "the kill has to fall into the middle, or nothing was shown"
    database = sqlite3.connect(f"file:{service.data / FILE_NAME}?mode=ro", uri=True)
    written = {row[0] for row in database.execute("SELECT token_id FROM audit WHERE event = 'token-issued'")}
    database.close()
    assert {_token_id(token) for token in answered} <= written


def _token_id(token: str) -> str:
    payload = token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims["jti"]


def test_sigterm_ends_it_in_order(service: TokenService) -> None:
    service.start()
    service.end(signal.SIGTERM)
    assert "store closed" in service.log
    assert "traceback" not in service.log
    assert not (service.data / f"{FILE_NAME}-wal").exists()


@pytest.mark.parametrize("content", [b"not a database, somebody's diary\n" * 50, b"SQLite format 3\0" + b"\xa5" * 8192])
def test_a_file_that_is_not_ours_is_refused_and_kept(service: TokenService, content: bytes) -> None:
    service.data.mkdir(mode=0o700)
    path = service.data / FILE_NAME
    path.write_bytes(content)
    assert service.launch().wait(timeout=30) == 1
    assert path.read_bytes() == content
    last = json.loads(service.log.splitlines()[-1])
    assert str(path) in last["reason"]
    assert "traceback" not in last


def test_a_second_service_on_the_same_folder_is_refused(service: TokenService) -> None:
    service.start()
    other = TokenService(service.folder, service.port)
    other.secrets = service.secrets
    try:
        assert other.launch().wait(timeout=30) == 4
    finally:
        other.close()
    assert "another process holds the lock" in service.log
    assert service.http.get("/readyz").status_code == 200


def test_a_taken_port_is_named(service: TokenService) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", service.port))
        holder.listen()
        assert service.launch().wait(timeout=30) == 1
    assert f"127.0.0.1:{service.port}: another process listens there" in service.log


@pytest.mark.parametrize("settings", ["", "{", "{}", '{"listen": {"port": 1}, "surprise": 1}'])
def test_bad_settings_are_one_line_that_names_the_file(service: TokenService, settings: str) -> None:
    path = service.write_settings()
    path.write_text(settings)
    assert service.launch(path).wait(timeout=30) == 1
    (line,) = service.log.splitlines()
    assert str(path) in json.loads(line)["reason"]
