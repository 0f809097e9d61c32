"""The token service's work, one call for each thing that it does. For one thread at a time; nothing here knows HTTP."""

import logging
import secrets
from typing import Any

import msgspec

from ragrid.errors import StateError
from ragrid.identity.revocations import Revoked
from ragrid.identity.verify import InvalidTokenError, TokenVerifier, signed_members
from ragrid.services.tokens.assertion import read_assertion
from ragrid.services.tokens.bearer import Bearer, bearer_of_client
from ragrid.services.tokens.clientele import Clientele
from ragrid.services.tokens.clients import Client, is_secret_of
from ragrid.services.tokens.grants import (
    OWN_AUDIENCE,
    Credentials,
    Form,
    Grant,
    OAuthError,
    claims_for,
    decide,
    invalid_client,
)
from ragrid.services.tokens.keeper import KeyKeeper
from ragrid.services.tokens.keyring import Keyring
from ragrid.services.tokens.metrics import ISSUED, REFUSED
from ragrid.services.tokens.store import AuditEvent, AuditQuery, Store
from ragrid.services.tokens.throttle import Budget, Lockout
from ragrid.spec.settings import TokensSettings, TokenTrust
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Refusals written to the audit log: this many a second in the long run, with a burst. What is left out is counted in
#: the next line, so a stranger can neither fill the disk nor hide behind the noise he makes.
AUDITED_REFUSALS_PER_S = 2.0
AUDITED_REFUSALS_BURST = 200
#: Whoever holds this may revoke and look into the tokens of others.
ADMIN_PERMISSION = "tokens:admin"
_NEEDED = frozenset({"sub", "client_id", "jti", "exp", "iat"})


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of the token endpoint (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    issued_token_type: str | None = None


class Issuer:
    """Issues, revokes and explains tokens; `keys` and `clientele` keep what it needs for that."""

    def __init__(self, settings: TokensSettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._lockout = Lockout(clock)
        self._life = secrets.token_hex(4)
        self._budget = Budget(clock, per_s=AUDITED_REFUSALS_PER_S, burst=AUDITED_REFUSALS_BURST)
        self.keys = KeyKeeper(settings, store, clock)
        self.clientele = Clientele(settings, store, clock)
        self._followed_s = clock.monotonic_s()

    @property
    def keyring(self) -> Keyring:
        """Return the keys of this moment."""
        return self.keys.keyring

    @property
    def revoked(self) -> Revoked:
        """Return what was revoked."""
        return self.clientele.revoked

    @property
    def revision(self) -> str:
        """Return another word after every change of keys or revocations, and after every start."""
        return f"{self._life}-{self.keys.published.revision}-{self.clientele.revision}"

    def verifier(self) -> TokenVerifier:
        """Return a verifier for calls to this service itself; it follows every rotation and revocation."""
        trust = TokenTrust(issuer=self._settings.issuer, audience=OWN_AUDIENCE, jwks_file=self._settings.data_directory)
        return TokenVerifier(trust, self.keys.published, self._clock, revocations=self.clientele)

    def authenticate(self, credentials: Credentials) -> Client:
        """Return the client with these credentials; raises OAuthError (401, or 429 while its failures are paused)."""
        if credentials.assertion:
            return self._by_key(credentials)
        client = self._store.client(credentials.client_id)
        if is_secret_of(client, credentials.secret) and client is not None:
            self._lockout.succeeded(credentials.client_id)
            return client
        pause_s = self._lockout.pause_s(credentials.client_id)
        if pause_s > 0.0:
            REFUSED.labels("locked_out").inc()
            after = {"Retry-After": str(int(pause_s) + 1)}
            raise OAuthError("invalid_client", "too many wrong secrets; wait", status=429, headers=after)
        self._lockout.failed(credentials.client_id)
        self.refused("invalid_client", client_id=credentials.client_id[:128])
        raise invalid_client()

    def identify(self, credentials: Credentials) -> Client:
        """Return the client that calls: a public one by its name alone, any other by its secret; raises OAuthError."""
        if not credentials.secret and not credentials.assertion:
            client = self._store.client(credentials.client_id)
            if client is not None and client.public:
                return client
        return self.authenticate(credentials)

    def _by_key(self, credentials: Credentials) -> Client:
        """Return the client that has signed an assertion; raises OAuthError."""
        client = self._store.client(credentials.client_id)
        if client is None or not self._is_fresh_proof(credentials.assertion, client):
            self.refused("invalid_client", client_id=credentials.client_id[:128])
            raise invalid_client()
        return client

    def _is_fresh_proof(self, assertion: str, client: Client) -> bool:
        """Return whether the client has signed it, for here and now, and has not used it before, also over restarts."""
        try:
            issuer, now_s = self._settings.issuer, self._clock.now_s()
            token_id, expires_s = read_assertion(assertion, client, issuer=issuer, now_s=now_s)
        except InvalidTokenError as error:
            logger.info("assertion refused", extra={"client_id": client.client_id, "reason": str(error)})
            return False
        with self._store.change():
            return self._store.remember_assertion(client.client_id, token_id, expires_s)

    def issue(self, form: Form, client: Client) -> IssuedToken:
        """Return a token for `client`, its issue written to the audit log first; raises OAuthError."""
        try:
            grant = decide(form, client, self._settings)
        except OAuthError as error:
            self.refused(error.code, client_id=client.client_id)
            raise
        with self._store.change():
            if self._store.client(client.client_id) != client:  # deleted or changed since it has proved itself
                raise invalid_client()
            issued, event = self.sign(grant, bearer_of_client(client))
            self._store.audit(event)
        return issued

    def sign(self, grant: Grant, bearer: Bearer) -> tuple[IssuedToken, AuditEvent]:
        """Return a token, and the line that must be in the audit log before anybody sees it."""
        now_s = self._clock.now_s()
        token_id = secrets.token_urlsafe(16)
        # a token of the second in which its bearer's tokens were revoked would be born dead
        issued_s = max(now_s, self.revoked.not_before_s(bearer.subject, bearer.client_id))
        claims = claims_for(grant, bearer, issuer=self._settings.issuer, token_id=token_id, now_s=issued_s)
        token = self.keyring.sign(claims)
        event = AuditEvent(
            at_s=now_s,
            event="token-issued",
            client_id=bearer.client_id,
            subject=bearer.subject if bearer.is_person else None,
            token_id=token_id,
            expires_s=float(claims["exp"]),
            details={"scope": claims["scope"], "aud": claims["aud"], "kid": self.keyring.current.kid},
        )
        ISSUED.labels("service" if grant.lifetime_s == self._settings.service_token_s else "access").inc()
        lifetime_s = claims["exp"] - claims["iat"]
        issued = IssuedToken(access_token=token, token_type="Bearer", expires_in=lifetime_s, scope=claims["scope"])  # noqa: S106 - a kind of token, not one
        return issued, event

    def revoke(self, token: str, client: Client) -> None:
        """Make a token worthless (RFC 7009); one that is none of ours or over is nothing to do.

        Raises OAuthError when it belongs to another client and this one is no administrator.
        """
        claims = self.live_members(token)
        if claims is None:
            return
        if claims["client_id"] != client.client_id and not self._is_admin(client):
            self.refused("unauthorized_client", client_id=client.client_id)
            raise OAuthError("unauthorized_client", "the token was issued to another client", status=403)
        expires_s = float(claims["exp"])
        self.clientele.revoke(claims["jti"], expires_s, client_id=claims["client_id"], by=client.client_id)

    def introspect(self, token: str, client: Client) -> dict[str, Any]:
        """Return what a live token says (RFC 7662), else `{"active": False}` and nothing more.

        A client sees its own tokens; services and administrators see all.
        """
        claims = self.live_members(token)
        is_trusted = self._is_admin(client) or any(role.endswith("-service") for role in client.roles)
        if claims is None or not (is_trusted or claims["client_id"] == client.client_id):
            return {"active": False}
        return {"active": True, "token_type": "Bearer", "username": claims["sub"], **claims}

    def client(self, client_id: str) -> Client | None:
        """Return one client, or None."""
        return self._store.client(client_id)

    def clients(self) -> list[Client]:
        """Return all clients by name."""
        return self._store.clients()

    def audit_lines(self, wanted: AuditQuery, limit: int) -> list[AuditEvent]:
        """Return up to `limit` lines of the audit log, oldest first."""
        return self._store.audit_lines(wanted, limit)

    def follow(self) -> None:
        """Look at what other replicas have changed: keys and revocations."""
        self.keys.follow()
        self.clientele.follow()
        self._followed_s = self._clock.monotonic_s()

    def followed_ago_s(self) -> float:
        """Return how long ago the store last told what is revoked; other replicas may have revoked more since."""
        return self._clock.monotonic_s() - self._followed_s

    def tend(self) -> None:
        """Do what time asks for: rotate keys, forget revocations that are over; and what `follow` does."""
        self.follow()
        self.clientele.tend()
        self.keys.tend()

    def probe(self) -> dict[str, Any]:
        """Read the store, sign, verify; return what was seen. Raises StateError or UnreachableError."""
        clients = len(self._store.clients())
        token = self.keyring.sign({"iss": self._settings.issuer, "probe": True})
        try:
            signed_members(token, self.keys.published)
        except InvalidTokenError as error:
            raise StateError(f"the signing key does not fit the published one: {error}") from error
        return {"clients": clients, "kid": self.keyring.current.kid, "revocations": len(self.revoked.tokens)}

    def refused(self, code: str, *, client_id: str | None = None, subject: str | None = None) -> None:
        """Count a refusal of a client or person, and write it to the audit log as far as there is room for such."""
        REFUSED.labels(code).inc()
        left_out = self._budget.left_out
        if not self._budget.spend():
            return
        self._budget.left_out = 0
        event = AuditEvent(
            at_s=self._clock.now_s(),
            event="token-refused" if subject is None else "sign-in-refused",
            client_id=client_id,
            subject=subject,
            details={"error": code, **({"left_out_before": left_out} if left_out else {})},
        )
        with self._store.change():
            self._store.audit(event)

    def _is_admin(self, client: Client) -> bool:
        return any(ADMIN_PERMISSION in self._settings.roles.get(role, ()) for role in client.roles)

    def live_members(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token of ours that is good now, for whatever service, or None."""
        try:
            members = signed_members(token, self.keys.published)
        except InvalidTokenError:
            return None
        is_ours = members.get("iss") == self._settings.issuer and members.keys() >= _NEEDED
        if not is_ours or members["exp"] <= self._clock.now_s():
            return None
        is_revoked = self.revoked.covers(
            token_id=members["jti"], subject=members["sub"], client_id=members["client_id"], issued_s=members["iat"]
        )
        return None if is_revoked else members
