"""People: made, listed, disabled, given a password; and how often somebody may guess one."""

from dataclasses import replace

from ragrid.errors import ConflictError
from ragrid.services.tokens.attempts import Attempts
from ragrid.services.tokens.grants import OAuthError
from ragrid.services.tokens.issuer import Issuer
from ragrid.services.tokens.metrics import REFUSED
from ragrid.services.tokens.people_store import PeopleStore, User
from ragrid.services.tokens.store import AuditEvent, Store
from ragrid.system.clock import Clock


class Users:
    """The people of the running service. Whoever is disabled or gets a new password is signed out everywhere."""

    def __init__(self, store: Store, issuer: Issuer, clock: Clock) -> None:
        self._store = store
        self._people = PeopleStore(store)
        self._issuer = issuer
        self._clock = clock
        self._attempts = Attempts(store, clock)

    def all(self) -> list[User]:
        """Return all people by name."""
        return self._people.users()

    def add(self, name: str, *, tenant: str, roles: tuple[str, ...], password_hash: str, by: str) -> None:
        """Make a person. Raises ConflictError when a person or client has that name."""
        user = User(
            name=name,
            tenant=tenant,
            roles=roles,
            password_hash=password_hash,
            disabled=False,
            created_s=self._clock.now_s(),
        )
        with self._store.change():
            if self._people.user(name) is not None or self._store.client(name) is not None:
                raise ConflictError(f"{name!r} is the name of a person or client already; choose another")
            self._people.put_user(user)
            self._note("user-created", name, by=by, tenant=tenant, roles=list(roles))

    def set_password(self, name: str, password_hash: str, *, by: str) -> bool:
        """Give a person another password and sign them out everywhere; return whether there is such a person."""
        return self._change(name, "user-password-changed", by=by, password_hash=password_hash)

    def set_disabled(self, name: str, *, disabled: bool, by: str) -> bool:
        """Keep a person out, or let them in again; return whether there is such a person."""
        return self._change(name, "user-disabled" if disabled else "user-enabled", by=by, disabled=disabled)

    def begin_attempt(self, name: str) -> str | None:
        """Return the hash that a password has to fit, None when nobody may sign in under that name.

        The attempt counts as failed until `end_attempt`, so that many at once gain nothing. Raises OAuthError (429)
        while the name is paused: right passwords wait as well, or guessing would go on through the pause.
        """
        pause_s = self._attempts.begin(name)
        if pause_s > 0.0:
            REFUSED.labels("locked_out").inc()
            after = {"Retry-After": str(int(pause_s) + 1)}
            said = f"too many wrong passwords; wait {int(pause_s) + 1} s"
            raise OAuthError("access_denied", said, status=429, headers=after)
        user = self._people.user(name)
        return None if user is None or user.disabled else user.password_hash

    def end_attempt(self, name: str, *, fits: bool) -> None:
        """Note how an attempt ended; raises OAuthError (403) when the password did not fit."""
        if fits:
            self._attempts.succeeded(name)
            return
        self._issuer.refused("wrong_password", subject=name)
        raise OAuthError("access_denied", "unknown name or wrong password", status=403)

    def _change(
        self, name: str, event: str, *, by: str, password_hash: str | None = None, disabled: bool | None = None
    ) -> bool:
        with self._store.change():
            user = self._people.user(name)
            if user is None:
                return False
            changed = replace(user, password_hash=password_hash or user.password_hash)
            self._people.put_user(changed if disabled is None else replace(changed, disabled=disabled))
            self._note(event, name, by=by)
            self._issuer.clientele.end_tokens("subject", name, by=by)
        self._issuer.clientele.look()
        return True

    def _note(self, event: str, name: str, **details: object) -> None:
        self._store.audit(AuditEvent(at_s=self._clock.now_s(), event=event, subject=name, details=details))
