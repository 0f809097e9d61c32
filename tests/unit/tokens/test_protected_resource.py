"""A client that knows the address of the tools alone finds out who gives the tokens for them (RFC 9728)."""

from pathlib import Path

import pytest

from ragrid.services.tokens.grants import OAuthError, audience_of, parse_pairs, resource_metadata
from support.token_desk import ISSUER, settings_in

SETTINGS = settings_in(Path("/of/no/token/service"))


def test_the_description_names_this_server_and_what_may_be_asked() -> None:
    found = resource_metadata(SETTINGS, "/mcp")
    assert (found["resource"], found["authorization_servers"]) == (f"{ISSUER}/mcp", [ISSUER])
    assert found["scopes_supported"] == ["memory:read", "memory:write"]


@pytest.mark.parametrize(
    ("asked", "audience"),
    [
        (b"", ("chromadb", "memory")),
        (b"resource=https://grid.test/mcp", ("memory",)),
        (b"resource=memory&resource=https://grid.test/mcp", ("memory",)),
        (b"resource=https://grid.test/mcp&audience=chromadb", ("chromadb", "memory")),
    ],
)
def test_a_resource_may_be_named_by_its_address(asked: bytes, audience: tuple[str, ...]) -> None:
    assert audience_of(parse_pairs(asked), ("chromadb", "memory"), issuer=ISSUER) == audience


@pytest.mark.parametrize(
    "asked", [b"resource=https://evil.test/mcp", b"resource=https://grid.test/mcp/", b"resource=/mcp", b"resource="]
)
def test_another_address_is_refused(asked: bytes) -> None:
    with pytest.raises(OAuthError) as caught:
        audience_of(parse_pairs(asked), ("chromadb", "memory"), issuer=ISSUER)
    assert caught.value.code == "invalid_target"


def test_an_address_gives_nothing_that_is_not_there_to_give() -> None:
    with pytest.raises(OAuthError):
        audience_of(parse_pairs(b"resource=https://grid.test/mcp"), ("chromadb",), issuer=ISSUER)
