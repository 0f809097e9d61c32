"""A service that acts for whoever called it: token exchange (RFC 8693), by delegation only."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ragrid.services.tokens.bearer import Bearer
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Form, Grant, OAuthError, audience_of, confinement_of, scope_of
from ragrid.services.tokens.issuer import IssuedToken, Issuer
from ragrid.services.tokens.people_store import PeopleStore
from ragrid.services.tokens.store import Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a kind of token, not one
#: Services that act for one another in a row, at most.
CHAIN_LIMIT = 4


class Exchange:
    """Gives a service a token of its caller's, which says so in `act`.

    Invariant: it allows nothing that the caller's token does not, for no service that it does not name, and no longer.
    """

    def __init__(self, settings: TokensSettings, store: Store, issuer: Issuer, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._people = PeopleStore(store)
        self._issuer = issuer
        self._clock = clock

    def swap(self, form: Form, client: Client) -> IssuedToken:
        """Return a token by which `client` acts for the subject of another one; raises OAuthError."""
        if not client.roles or not all(role.endswith("-service") for role in client.roles):
            raise OAuthError("unauthorized_client", "only clients with service roles act for others")
        if form.one("actor_token") is not None:
            raise OAuthError("invalid_request", "the client that authenticates is the actor; send no actor_token")
        if {form.needed("subject_token_type"), form.one("requested_token_type") or ACCESS_TOKEN} != {ACCESS_TOKEN}:
            raise OAuthError("invalid_request", f"wanted tokens of type {ACCESS_TOKEN}")
        members = self._issuer.live_members(form.needed("subject_token"))
        if members is None:
            raise OAuthError("invalid_grant", "the subject token is over, revoked, or none of this grid")
        grant = Grant(
            audience=audience_of(form, members["aud"], issuer=self._settings.issuer),
            permissions=scope_of(form.one("scope"), frozenset(members["scope"].split())),
            lifetime_s=min(self._settings.access_token_s, members["exp"] - self._clock.now_s()),
            confinement=confinement_of(form, members),
        )
        bearer = Bearer(
            members["sub"], client.client_id, members["tenant"], tuple(members["roles"]), _chain(members, client)
        )
        issued, event = self._issuer.sign(grant, bearer)
        with self._store.change():
            self._store.audit(event)
            # what ends the sign-in that the first token came from ends this one too
            sign_in_id = self._people.sign_in_of_token(members["jti"])
            if sign_in_id is not None:
                self._people.note_token(sign_in_id, event.token_id or "", event.expires_s or 0.0)
        return msgspec.structs.replace(issued, issued_token_type=ACCESS_TOKEN)


def _chain(members: Mapping[str, Any], client: Client) -> dict[str, Any]:
    earlier = members.get("act")
    depth, link = 1, earlier
    while isinstance(link, dict):
        depth, link = depth + 1, link.get("act")
    if depth > CHAIN_LIMIT:
        raise OAuthError("invalid_request", f"more than {CHAIN_LIMIT} services act for one another")
    return {"sub": client.client_id, **({"act": earlier} if earlier is not None else {})}
