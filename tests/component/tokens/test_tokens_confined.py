"""Tokens for a part of the memories: whoever asks for one gets less, and nobody gets more out of one."""

import json
from typing import Any

import pytest

from ragrid.identity.strict import decode_base64url
from ragrid.services.tokens.exchange import ACCESS_TOKEN, Exchange
from ragrid.services.tokens.grants import Form, OAuthError
from support.token_desk import Desk


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decode_base64url(token.split(".")[1]))
    return {name: one for name, one in found.items() if name.startswith("memory_")}


def issued(desk: Desk, **asked: str) -> str:
    form = Form({"grant_type": ("client_credentials",), **{name: (one,) for name, one in asked.items()}})
    return desk.issuer.issue(form, desk.client("ada")).access_token


def swapped(desk: Desk, token: str, **asked: str) -> str:
    exchange = Exchange(desk.settings(), desk.store, desk.issuer, desk.clock)
    form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, **asked}
    return exchange.swap(Form({name: (one,) for name, one in form.items()}), desk.client("memory")).access_token


def test_a_client_may_ask_for_less(desk: Desk) -> None:
    assert claims(issued(desk)) == {}
    token = issued(desk, memory_ns="chat-* notes", memory_user="bob")
    assert claims(token) == {"memory_ns": ["chat-*", "notes"], "memory_user": "bob"}


@pytest.mark.parametrize("asked", [{"memory_ns": ""}, {"memory_ns": "a/b"}, {"memory_user": ""}])
def test_what_cannot_be_understood_is_refused(desk: Desk, asked: dict[str, str]) -> None:
    with pytest.raises(OAuthError) as caught:
        issued(desk, **asked)
    assert caught.value.code == "invalid_request"


def test_what_is_made_of_such_a_token_is_held_as_well(desk: Desk) -> None:
    token = issued(desk, memory_ns="chat-* notes", memory_user="bob")
    assert claims(swapped(desk, token)) == claims(token)
    assert claims(swapped(desk, token, memory_ns="chat-7 notes", memory_user="bob")) == {
        "memory_ns": ["chat-7", "notes"],
        "memory_user": "bob",
    }
    assert claims(swapped(desk, issued(desk, memory_ns="chat-*"), memory_user="bob")) == {
        "memory_ns": ["chat-*"],
        "memory_user": "bob",
    }
    for more in ({"memory_ns": "*"}, {"memory_ns": "chat-7 other"}, {"memory_ns": "chat-7*"}, {"memory_user": "eve"}):
        with pytest.raises(OAuthError) as caught:
            swapped(desk, token, **more)
        assert caught.value.code == "invalid_request"
