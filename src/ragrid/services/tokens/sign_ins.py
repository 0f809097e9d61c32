"""What follows once a person has allowed a client to act: codes, refresh tokens that rotate, access tokens."""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from ragrid.identity.roles import permissions_of
from ragrid.identity.verify import LEEWAY_S
from ragrid.services.tokens.authorization import AuthorizationRequest, answer_url, check_verifier
from ragrid.services.tokens.bearer import bearer_of_person
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Form, Grant, OAuthError, confinement_of, scope_of
from ragrid.services.tokens.issuer import IssuedToken, Issuer
from ragrid.services.tokens.people_store import Code, PeopleStore, RefreshToken, SignIn
from ragrid.services.tokens.store import AuditEvent, Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock

#: A code is fetched at once by a program, seconds (RFC 6749 section 4.1.2 allows ten minutes).
CODE_S = 60.0


class SignIns:
    """Turns allowed requests into tokens.

    Invariant: a code or refresh token gives tokens once. Whoever shows one a second time ends the whole sign-in, its
    live access tokens included: one of the two who had it was not the client.
    """

    def __init__(self, settings: TokensSettings, store: Store, issuer: Issuer, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._people = PeopleStore(store)
        self._issuer = issuer
        self._clock = clock

    def allow(self, request: AuthorizationRequest, name: str) -> str:
        """Return where the person is sent with the code, after they allowed `request`."""
        secret = secrets.token_urlsafe(32)
        with self._store.change():
            sign_in = self.begin(request.client_id, name, request.scope, request.audience)
            code = Code(
                sign_in_id=sign_in.sign_in_id,
                redirect_uri=request.redirect_uri,
                challenge=request.challenge,
                expires_s=self._clock.now_s() + CODE_S,
            )
            self._people.put_code(secret, code)
        return answer_url(request.redirect_uri, {"code": secret}, state=request.state, issuer=self._settings.issuer)

    def begin(self, client_id: str, name: str, scope: tuple[str, ...] | None, audience: tuple[str, ...]) -> SignIn:
        """Store that a person lets a client act, within what the person may do now; inside a `change()`."""
        user = self._people.user(name)
        allowed = permissions_of(user.roles, self._settings.roles) if user else frozenset()
        sign_in = SignIn(
            sign_in_id=secrets.token_urlsafe(16),
            client_id=client_id,
            subject=name,
            scope=tuple(sorted(allowed if scope is None else allowed & set(scope))),
            audience=audience,
            expires_s=self._clock.now_s() + self._settings.sign_in_s,
        )
        self._people.put_sign_in(sign_in)
        self._note("sign-in", sign_in, scope=" ".join(sign_in.scope))
        return sign_in

    def redeem(self, form: Form, client: Client) -> IssuedToken:
        """Return tokens for a code; it is good for one try. Raises OAuthError."""
        secret, verifier = form.needed("code"), form.needed("code_verifier")
        issued = None
        with self._store.change():
            code = self._people.take_code(secret)
            sign_in = self._people.sign_in(code.sign_in_id) if code else None
            if code is not None and sign_in is not None:
                if self._is_good(code, sign_in, client, form) and _fits(verifier, code.challenge):
                    issued = self.issue(sign_in)
                else:
                    self._end(sign_in, why="a code came twice, late, or with something else than it was made for")
        if issued is None:
            self._issuer.clientele.look()
            raise _invalid_grant("the code is unknown, over, used, or not this client's")
        return issued

    def refresh(self, form: Form, client: Client) -> IssuedToken:
        """Return tokens for a refresh token, and another one in its place. Raises OAuthError."""
        secret = form.needed("refresh_token")
        issued = None
        with self._store.change():
            token = self._people.refresh_token(secret)
            sign_in = self._people.sign_in(token.sign_in_id) if token else None
            if token is not None and sign_in is not None:
                if token.used or sign_in.client_id != client.client_id:
                    self._end(sign_in, why="a refresh token came twice, or from another client")
                elif min(token.expires_s, sign_in.expires_s) > self._clock.now_s():
                    self._people.use_refresh_token(secret)
                    issued = self.issue(sign_in, asked=form.one("scope"), confinement=confinement_of(form))
        if issued is None:
            self._issuer.clientele.look()
            raise _invalid_grant("the refresh token is unknown, over, used, or not this client's; sign in again")
        return issued

    def issue(
        self, sign_in: SignIn, *, asked: str | None = None, confinement: Mapping[str, Any] | None = None
    ) -> IssuedToken:
        """Return tokens of a sign-in; inside a `change()`. Raises OAuthError when the person is gone or disabled."""
        user = self._people.user(sign_in.subject)
        if user is None or user.disabled:
            raise _invalid_grant("the person may not sign in any more")
        allowed = permissions_of(user.roles, self._settings.roles) & set(sign_in.scope)
        grant = Grant(sign_in.audience, scope_of(asked, allowed), self._settings.access_token_s, confinement or {})
        issued, event = self._issuer.sign(grant, bearer_of_person(user, sign_in.client_id))
        self._store.audit(event)
        self._people.note_token(sign_in.sign_in_id, event.token_id or "", event.expires_s or 0.0)
        refresh = secrets.token_urlsafe(32)
        expires_s = min(sign_in.expires_s, self._clock.now_s() + self._settings.refresh_token_s)
        self._people.put_refresh_token(refresh, RefreshToken(sign_in_id=sign_in.sign_in_id, expires_s=expires_s))
        return msgspec.structs.replace(issued, refresh_token=refresh)

    def revoke(self, refresh_token: str, client: Client) -> bool:
        """End the sign-in of a refresh token (RFC 7009); return whether it was one of this client."""
        with self._store.change():
            token = self._people.refresh_token(refresh_token)
            sign_in = self._people.sign_in(token.sign_in_id) if token else None
            if sign_in is None or sign_in.client_id != client.client_id:
                return False
            self._end(sign_in, why="revoked")
        self._issuer.clientele.look()
        return True

    def tend(self) -> None:
        """Forget what is over, for the leeway of assertions' times as well."""
        now_s = self._clock.now_s() - 2 * LEEWAY_S
        if self._people.has_expired(now_s):
            with self._store.change():
                self._people.forget_expired(now_s)

    def _is_good(self, code: Code, sign_in: SignIn, client: Client, form: Form) -> bool:
        is_in_time = not code.used and code.expires_s > self._clock.now_s()
        return is_in_time and sign_in.client_id == client.client_id and form.one("redirect_uri") == code.redirect_uri

    def _end(self, sign_in: SignIn, *, why: str) -> None:
        for token_id, expires_s in self._people.end_sign_in(sign_in.sign_in_id).items():
            self._store.revoke(token_id, expires_s)
        self._note("sign-in-ended", sign_in, why=why)

    def _note(self, event: str, sign_in: SignIn, **details: object) -> None:
        self._store.audit(
            AuditEvent(
                at_s=self._clock.now_s(),
                event=event,
                client_id=sign_in.client_id,
                subject=sign_in.subject,
                details=details,
            )
        )


def _fits(verifier: str, challenge: str) -> bool:
    try:
        check_verifier(verifier, challenge)
    except OAuthError:
        return False
    return True


def _invalid_grant(detail: str) -> OAuthError:
    return OAuthError("invalid_grant", detail)
