"""Refusals of the grid become errors that say what was said and what to do next."""

import json
from typing import Any

import pytest

from ragrid.client import calls
from ragrid.client.models import Token
from ragrid.client.refusals import NotFoundError, RefusedError, UnavailableError, refusal
from ragrid.client.transport import checked_address
from ragrid.errors import AuthError, RagridError, UsageError

PROBLEM = "application/problem+json"


def refused(status: int, content_type: str = PROBLEM, **members: Any) -> RagridError:
    return refusal("POST /rag/v1/ask", status, content_type, json.dumps(members).encode())


@pytest.mark.parametrize(
    ("status", "kind", "step"),
    [
        (401, AuthError, "get a new token"),
        (403, AuthError, "whose role allows it"),
        (404, NotFoundError, "check the name"),
        (422, RefusedError, "too long"),
        (429, RefusedError, "wait"),
        (502, UnavailableError, "ragrid status"),
        (503, UnavailableError, "ragrid status"),
        (500, RefusedError, "too long"),
    ],
)
def test_each_status_has_its_error_and_next_step(status: int, kind: type[RagridError], step: str) -> None:
    error = refused(status, detail="too long", code="some-code", request_id="r-1")
    assert type(error) is kind
    assert str(error).startswith(f"POST /rag/v1/ask: {status}: too long")
    assert step in str(error)
    assert "(request r-1)" in str(error)


def test_wrong_members_are_all_named() -> None:
    error = refused(422, detail="invalid", errors=[{"pointer": "/k", "detail": "got 0"}, {"pointer": "/question"}])
    assert isinstance(error, RefusedError)
    assert error.errors == (("/k", "got 0"), ("/question", ""))
    assert "/k: got 0" in str(error)


def test_what_was_said_is_not_said_twice() -> None:
    limit = "got 0 characters, wanted 1 to 8000"
    error = refused(422, detail=f"question: {limit}", errors=[{"pointer": "/question", "detail": limit}])
    assert str(error) == f"POST /rag/v1/ask: 422: question: {limit}"
    assert isinstance(error, RefusedError)
    assert error.errors == (("/question", limit),)


@pytest.mark.parametrize("status", [400, 401])
def test_oauth_s_own_errors_are_understood(status: int) -> None:
    error = refused(status, "application/json", error="invalid_client", error_description="unknown client")
    assert isinstance(error, AuthError)
    assert "unknown client; check client id and secret" in str(error)


@pytest.mark.parametrize("content", [b"<html>\n  <h1>Bad gateway</h1>" + b"x" * 9999, b"", b"\xff\xfe", b"[1, 2"])
def test_a_foreign_body_is_shown_in_short(content: bytes) -> None:
    for content_type in ("text/html", "application/json"):
        error = refusal("GET /x", 418, content_type, content)
        assert isinstance(error, RefusedError)
        assert len(str(error)) < 400
        assert "\n" not in str(error)


def test_an_answer_of_another_shape_is_no_traceback() -> None:
    with pytest.raises(RagridError, match=r"answer 200 is no Token: .* ragrid gateway"):
        calls.read(calls.token("a", "b", {}), 200, {"content-type": "application/json"}, b'{"hello": "world"}')


def test_members_that_a_newer_grid_adds_are_left_out() -> None:
    body = b'{"access_token":"t","token_type":"Bearer","expires_in":600,"new":[1]}'
    assert calls.read(calls.token("a", "b", {}), 200, {"content-type": "application/json"}, body).expires_in_s == 600


def test_a_token_is_not_shown() -> None:
    assert "s3cret" not in repr(Token(access_token="s3cret", expires_in_s=600.0))


def test_client_id_and_secret_are_encoded_before_they_are_joined() -> None:
    header = calls.token("a:b", "c d", {"scope": "rag:read"}).headers["authorization"]
    assert header == "Basic YSUzQWI6Yytk"  # a%3Ab:c+d


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("http://grid.example", "unencrypted"),
        ("http://10.0.0.1:80", "unencrypted"),
        ("ftp://127.0.0.1", "wanted https://HOST:PORT"),
        ("https://", "wanted https://HOST:PORT"),
        ("127.0.0.1:8443", "wanted https://HOST:PORT"),
        ("https://host/path", "wanted https://HOST:PORT"),
        ("https://user:pw@host", "wanted https://HOST:PORT"),
        ("https://host:port", "wanted https://HOST:PORT"),
    ],
)
def test_addresses_that_are_refused(address: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        checked_address(address)


@pytest.mark.parametrize(
    "address", ["https://grid.example", "http://127.0.0.1:80/", "http://[::1]:8080", "http://localhost:1"]
)
def test_addresses_that_are_taken(address: str) -> None:
    assert not checked_address(address).endswith("/")


def test_a_token_for_less_names_what_it_is_for() -> None:
    assert calls.narrowed(None) == {}
    asked = calls.narrowed("memory:read", ("chat-*", "notes"), "ada")
    assert asked == {"scope": "memory:read", "memory_ns": "chat-* notes", "memory_user": "ada"}
