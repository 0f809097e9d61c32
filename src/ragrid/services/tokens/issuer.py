"""The token service's work, one call for each thing that it does. For one thread at a time; nothing here knows HTTP."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from ragrid.errors import ConflictError, StateError
from ragrid.identity.claims import Claims
from ragrid.identity.keys import FixedKeys
from ragrid.identity.verify import LEEWAY_S, InvalidTokenError, TokenVerifier, signed_members
from ragrid.services.tokens import rotation
from ragrid.services.tokens.clients import Client, hash_secret, is_secret_of, load_seed, make_secret
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
from ragrid.services.tokens.keyring import Keyring, make_pair, stored
from ragrid.services.tokens.metrics import ISSUED, REFUSED
from ragrid.services.tokens.store import AuditEvent, Store
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


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of the token endpoint (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class Issuer:
    """Issues, revokes and explains tokens; keeps clients, keys and the audit log."""

    def __init__(self, settings: TokensSettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        longest_s = max(settings.access_token_s, settings.service_token_s)
        self._schedule = rotation.schedule_for(settings.key_rotation_s, longest_token_s=longest_s)
        self._lockout = Lockout(clock)
        self._budget = Budget(clock, per_s=AUDITED_REFUSALS_PER_S, burst=AUDITED_REFUSALS_BURST)
        self.keyring = self._load_keys()
        self._keys = FixedKeys(self.keyring.verification_keys())
        self.revoked: Mapping[str, float] = store.revocations()
        self._follow_settings()

    def verifier(self) -> "RevocationVerifier":
        """Return a verifier for calls to this service itself; it follows every rotation and revocation."""
        trust = TokenTrust(issuer=self._settings.issuer, audience=OWN_AUDIENCE, jwks_file=self._store.path)
        return RevocationVerifier(TokenVerifier(trust, self._keys, self._clock), self)

    def authenticate(self, credentials: Credentials) -> Client:
        """Return the client with these credentials; raises OAuthError (401, or 429 while its failures are paused)."""
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
        self._refused("invalid_client", credentials.client_id[:128])
        raise invalid_client()

    def issue(self, form: Form, client: Client) -> IssuedToken:
        """Return a token for `client`, its issue written to the audit log first; raises OAuthError."""
        try:
            grant = decide(form, client, self._settings)
        except OAuthError as error:
            self._refused(error.code, client.client_id)
            raise
        return self._issue(grant, client)

    def _issue(self, grant: Grant, client: Client) -> IssuedToken:
        now_s = self._clock.now_s()
        token_id = secrets.token_urlsafe(16)
        claims = claims_for(grant, client, issuer=self._settings.issuer, token_id=token_id, now_s=now_s)
        token = self.keyring.sign(claims)
        with self._store.change():
            self._store.audit(
                AuditEvent(
                    at_s=now_s,
                    event="token-issued",
                    client_id=client.client_id,
                    token_id=token_id,
                    expires_s=float(claims["exp"]),
                    details={"scope": claims["scope"], "aud": claims["aud"], "kid": self.keyring.current.kid},
                )
            )
        ISSUED.labels("service" if grant.lifetime_s == self._settings.service_token_s else "access").inc()
        lifetime_s = claims["exp"] - claims["iat"]
        return IssuedToken(access_token=token, token_type="Bearer", expires_in=lifetime_s, scope=claims["scope"])  # noqa: S106 - a kind of token, not one

    def revoke(self, token: str, client: Client) -> None:
        """Make a token worthless (RFC 7009); one that is none of ours or over is nothing to do.

        Raises OAuthError when it belongs to another client and this one is no administrator.
        """
        claims = self._live_members(token)
        if claims is None:
            return
        if claims["client_id"] != client.client_id and not self._is_admin(client):
            self._refused("unauthorized_client", client.client_id)
            raise OAuthError("unauthorized_client", "the token was issued to another client", status=403)
        with self._store.change():
            self._revoke({claims["jti"]: float(claims["exp"])}, claims["client_id"], by=client.client_id)
        self.revoked = self._store.revocations()

    def introspect(self, token: str, client: Client) -> dict[str, Any]:
        """Return what a live token says (RFC 7662), else `{"active": False}` and nothing more.

        A client sees its own tokens; services and administrators see all.
        """
        claims = self._live_members(token)
        is_trusted = self._is_admin(client) or any(role.endswith("-service") for role in client.roles)
        if claims is None or not (is_trusted or claims["client_id"] == client.client_id):
            return {"active": False}
        return {"active": True, "token_type": "Bearer", "username": claims["sub"], **claims}

    def clients(self) -> list[Client]:
        """Return all clients by name."""
        return self._store.clients()

    def create_client(self, client_id: str, *, tenant: str, roles: tuple[str, ...], by: str) -> str:
        """Make a client and return its secret, which nobody can read again; raises ConflictError when it exists."""
        secret = make_secret()
        now_s = self._clock.now_s()
        client = Client(
            client_id=client_id,
            tenant=tenant,
            roles=roles,
            secret_hash=hash_secret(secret),
            declared=False,
            created_s=now_s,
        )
        with self._store.change():
            if self._store.client(client_id) is not None:
                raise ConflictError(f"client {client_id!r} exists; delete it first, or choose another name")
            self._store.put_client(client)
            self._note("client-created", client, by=by)
        return secret

    def delete_client(self, client_id: str, *, by: str) -> bool:
        """Delete a client and revoke its live tokens; return whether there was one.

        Raises ConflictError for a client that the settings declare: it would be back at the next start.
        """
        with self._store.change():
            client = self._store.client(client_id)
            if client is None:
                return False
            if client.declared:
                raise ConflictError(f"client {client_id!r} is declared in the settings; remove it there")
            self._remove(client, by=by)
        self.revoked = self._store.revocations()
        return True

    def audit_after(self, event_id: int, limit: int) -> list[AuditEvent]:
        """Return up to `limit` lines of the audit log that follow `event_id`, oldest first."""
        return self._store.audit_after(event_id, limit)

    def tend(self) -> bool:
        """Do what time asks for: rotate keys, forget revocations that are over. Return whether the keys changed."""
        now_s = self._clock.now_s()
        over_s = now_s - rotation.SKEW_S - LEEWAY_S
        if any(expires_s < over_s for expires_s in self.revoked.values()):
            with self._store.change():
                self._store.forget_revocations(over_s)
            self.revoked = self._store.revocations()
        spares = {pair.kid: pair for pair in (make_pair(), make_pair())}
        first, second = spares
        records = rotation.advance(self.keyring.records, now_s, self._schedule, (first, second))
        if records == self.keyring.records:
            return False
        self._use(Keyring(stored(records, {**self.keyring.pairs, **spares})), by="schedule")
        return True

    def rotate_now(self, *, drop_current: bool, by: str) -> None:
        """Sign with the next key at once; `drop_current` also ends every token that the current one signed."""
        spare = make_pair()
        now_s = self._clock.now_s()
        records = rotation.promote_now(self.keyring.records, now_s, spare.kid, drop_current=drop_current)
        self._use(Keyring(stored(records, {**self.keyring.pairs, spare.kid: spare})), by=by)

    def probe(self) -> dict[str, Any]:
        """Read the store, sign, verify; return what was seen. Raises StateError or UnreachableError."""
        clients = len(self._store.clients())
        token = self.keyring.sign({"iss": self._settings.issuer, "probe": True})
        try:
            signed_members(token, self._keys)
        except InvalidTokenError as error:
            raise StateError(f"the signing key does not fit the published one: {error}") from error
        return {"clients": clients, "kid": self.keyring.current.kid, "revocations": len(self.revoked)}

    def key_age_s(self) -> float:
        """Return for how long the current key has been signing, seconds."""
        return max(0.0, self._clock.now_s() - (self.keyring.current.activated_s or 0.0))

    def _load_keys(self) -> Keyring:
        """Return the stored keys as they should be now; what had to change is stored before it is used."""
        found = self._store.keys()
        pairs = {key.pair.kid: key.pair for key in found}
        pairs |= (spares := {pair.kid: pair for pair in (make_pair(), make_pair())})
        first, second = spares
        known = rotation.ordered(key.record for key in found)
        records = rotation.advance(known, self._clock.now_s(), self._schedule, (first, second))
        keyring = Keyring(stored(records, pairs))
        if records != known:
            self._save(keyring, by="start")
        return keyring

    def _use(self, keyring: Keyring, *, by: str) -> None:
        self._save(keyring, by=by)
        self.keyring = keyring
        self._keys.replace(keyring.verification_keys())

    def _save(self, keyring: Keyring, *, by: str) -> None:
        states = {record.kid: record.state for record in keyring.records}
        with self._store.change():
            self._store.replace_keys(stored(keyring.records, keyring.pairs))
            self._store.audit(
                AuditEvent(at_s=self._clock.now_s(), event="keys-changed", details={"by": by, "keys": states})
            )
        self._store.scrub()
        logger.info("signing keys changed", extra={"by": by, "keys": states})

    def _follow_settings(self) -> None:
        """Make the declared clients those of the settings; one that lost a right loses its live tokens too."""
        now_s = self._clock.now_s()
        seeds = [load_seed(seed, self._settings.roles, now_s=now_s) for seed in self._settings.clients]
        wanted = {seed.client_id: seed for seed in seeds}
        if len(wanted) != len(seeds):
            raise StateError("clients: a client_id stands twice in the settings, wanted each once")
        with self._store.change():
            for known in self._store.clients():
                if known.declared and known.client_id not in wanted:
                    self._remove(known, by="settings")
            for client in seeds:
                self._upsert(client)
        self.revoked = self._store.revocations()

    def _upsert(self, client: Client) -> None:
        known = self._store.client(client.client_id)
        if known is not None and known.is_same_as(client):
            return
        self._store.put_client(client)
        self._note("client-created" if known is None else "client-changed", client, by="settings")
        if known is not None:
            self._revoke(self._store.live_tokens(client.client_id, client.created_s), client.client_id, by="settings")

    def _remove(self, client: Client, *, by: str) -> None:
        self._store.delete_client(client.client_id)
        self._note("client-deleted", client, by=by)
        self._revoke(self._store.live_tokens(client.client_id, self._clock.now_s()), client.client_id, by=by)

    def _revoke(self, tokens: Mapping[str, float], client_id: str, *, by: str) -> None:
        for token_id, expires_s in tokens.items():
            self._store.revoke(token_id, expires_s)
            self._store.audit(
                AuditEvent(
                    at_s=self._clock.now_s(),
                    event="token-revoked",
                    client_id=client_id,
                    token_id=token_id,
                    expires_s=expires_s,
                    details={"by": by},
                )
            )

    def _note(self, event: str, client: Client, *, by: str) -> None:
        details = {"by": by, "tenant": client.tenant, "roles": client.roles, "declared": client.declared}
        self._store.audit(
            AuditEvent(at_s=self._clock.now_s(), event=event, client_id=client.client_id, details=details)
        )

    def _refused(self, code: str, client_id: str) -> None:
        REFUSED.labels(code).inc()
        left_out = self._budget.left_out
        if not self._budget.spend():
            return
        self._budget.left_out = 0
        details: dict[str, Any] = {"error": code, **({"left_out_before": left_out} if left_out else {})}
        with self._store.change():
            self._store.audit(
                AuditEvent(at_s=self._clock.now_s(), event="token-refused", client_id=client_id, details=details)
            )

    def _is_admin(self, client: Client) -> bool:
        return any(ADMIN_PERMISSION in self._settings.roles.get(role, ()) for role in client.roles)

    def _live_members(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token of ours that is good now, for whatever service, or None."""
        try:
            members = signed_members(token, self._keys)
        except InvalidTokenError:
            return None
        is_ours = members.get("iss") == self._settings.issuer and {"client_id", "jti", "exp"} <= members.keys()
        if not is_ours or members["exp"] <= self._clock.now_s() or members["jti"] in self.revoked:
            return None
        return members


class RevocationVerifier:
    """Verifies tokens for this service itself; unlike the others it knows at once what was revoked."""

    def __init__(self, inner: TokenVerifier, issuer: Issuer) -> None:
        self._inner = inner
        self._issuer = issuer

    def verify(self, token: str) -> Claims:
        """Return what `token` says of its bearer; raises InvalidTokenError, also for a revoked token."""
        claims = self._inner.verify(token)
        if claims.token_id in self._issuer.revoked:
            raise InvalidTokenError("token was revoked; ask for a fresh one")
        return claims
