"""Keeps the clients and what was revoked: a client that loses a right loses its live tokens with it."""

from collections.abc import Mapping

from ragrid.errors import ConflictError, StateError
from ragrid.identity.verify import LEEWAY_S
from ragrid.services.tokens.clients import Client, hash_secret, load_seed, make_secret
from ragrid.services.tokens.rotation import SKEW_S
from ragrid.services.tokens.store import AuditEvent, Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock


class Clientele:
    """The clients of the running service, and the expiry of every revoked token by its id in `revoked`."""

    def __init__(self, settings: TokensSettings, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._follow(settings)
        self.revoked: Mapping[str, float] = store.revocations()

    def create(self, client_id: str, *, tenant: str, roles: tuple[str, ...], by: str) -> str:
        """Make a client and return its secret, which nobody can read again; raises ConflictError when it exists."""
        secret = make_secret()
        client = Client(
            client_id=client_id,
            tenant=tenant,
            roles=roles,
            secret_hash=hash_secret(secret),
            declared=False,
            created_s=self._clock.now_s(),
        )
        with self._store.change():
            if self._store.client(client_id) is not None:
                raise ConflictError(f"client {client_id!r} exists; delete it first, or choose another name")
            self._store.put_client(client)
            self._note("client-created", client, by=by)
        return secret

    def delete(self, client_id: str, *, by: str) -> bool:
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

    def revoke(self, token_id: str, expires_s: float, *, client_id: str, by: str) -> None:
        """Remember that a token is not good any more."""
        with self._store.change():
            self._revoke({token_id: expires_s}, client_id, by=by)
        self.revoked = self._store.revocations()

    def tend(self) -> None:
        """Forget the revocations of tokens that no verifier accepts any more."""
        over_s = self._clock.now_s() - SKEW_S - LEEWAY_S
        if any(expires_s < over_s for expires_s in self.revoked.values()):
            with self._store.change():
                self._store.forget_revocations(over_s)
            self.revoked = self._store.revocations()

    def _follow(self, settings: TokensSettings) -> None:
        """Make the declared clients those of the settings, all in one change."""
        now_s = self._clock.now_s()
        seeds = [load_seed(seed, settings.roles, now_s=now_s) for seed in settings.clients]
        wanted = {seed.client_id for seed in seeds}
        if len(wanted) != len(seeds):
            raise StateError("clients: a client_id stands twice in the settings, wanted each once")
        with self._store.change():
            for known in self._store.clients():
                if known.declared and known.client_id not in wanted:
                    self._remove(known, by="settings")
            for client in seeds:
                self._upsert(client)

    def _upsert(self, client: Client) -> None:
        known = self._store.client(client.client_id)
        if known is not None and known.is_same_as(client):
            return
        self._store.put_client(client)
        self._note("client-created" if known is None else "client-changed", client, by="settings")
        if known is not None:
            self._revoke_all(client, by="settings")

    def _remove(self, client: Client, *, by: str) -> None:
        self._store.delete_client(client.client_id)
        self._note("client-deleted", client, by=by)
        self._revoke_all(client, by=by)

    def _revoke_all(self, client: Client, *, by: str) -> None:
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
