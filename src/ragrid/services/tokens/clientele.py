"""Keeps the clients and what was revoked: a client that loses a right loses its live tokens with it."""

from ragrid.errors import ConflictError, StateError
from ragrid.identity.revocations import Revoked
from ragrid.identity.verify import LEEWAY_S
from ragrid.services.tokens.clients import COMMAND_LINE, Client, hash_secret, load_seed, make_secret
from ragrid.services.tokens.people_store import PeopleStore
from ragrid.services.tokens.rotation import SKEW_S
from ragrid.services.tokens.store import AuditEvent, Kind, Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock


class Clientele:
    """The clients of the running service, and what was revoked.

    `revision` is another number after every revocation.
    """

    def __init__(self, settings: TokensSettings, store: Store, clock: Clock) -> None:
        self._store = store
        self._people = PeopleStore(store)
        self._clock = clock
        self._longest_s = max(settings.access_token_s, settings.service_token_s)
        self.revision = 0
        self._declare(settings)
        self.look()

    def create(
        self,
        client_id: str,
        *,
        tenant: str,
        roles: tuple[str, ...],
        by: str,
        redirect_uris: tuple[str, ...] = (),
        public: bool = False,
        jwks: str = "",
    ) -> str:
        """Make a client and return its secret, which nobody can read again ("" for one that is public or has a key).

        Raises ConflictError when a client or a person has that name: tokens could not tell them apart.
        """
        secret = "" if public or jwks else make_secret()
        client = Client(
            client_id=client_id,
            tenant=tenant,
            roles=roles,
            secret_hash=hash_secret(secret) if secret else b"",
            declared=False,
            created_s=self._clock.now_s(),
            redirect_uris=redirect_uris,
            public=public,
            jwks=jwks,
        )
        with self._store.change():
            if self._store.client(client_id) is not None or self._people.user(client_id) is not None:
                raise ConflictError(f"{client_id!r} is the name of a client or person already; choose another")
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
        self.look()
        return True

    def revoke(self, token_id: str, expires_s: float, *, client_id: str, by: str) -> None:
        """Remember that a token is not good any more."""
        event = AuditEvent(
            at_s=self._clock.now_s(),
            event="token-revoked",
            client_id=client_id,
            token_id=token_id,
            expires_s=expires_s,
            details={"by": by},
        )
        with self._store.change():
            self._store.revoke(token_id, expires_s)
            self._store.audit(event)
        self.look()

    def revoke_all(self, kind: Kind, name: str, *, by: str) -> float:
        """End every token that a subject or client has; return the time from which on new ones count."""
        with self._store.change():
            not_before_s = self.end_tokens(kind, name, by=by)
        self.look()
        return not_before_s

    def tend(self) -> None:
        """Forget the revocations of tokens that no verifier accepts any more."""
        over_s = self._clock.now_s() - SKEW_S - LEEWAY_S
        marks_s = (*self.revoked.subjects.values(), *self.revoked.clients.values())
        ends_s = (*self.revoked.tokens.values(), *(mark_s + self._longest_s for mark_s in marks_s))
        if any(end_s < over_s for end_s in ends_s):
            with self._store.change():
                self._store.forget_revocations(over_s)
                self._store.forget_watermarks(over_s - self._longest_s)
            self.look()

    def look(self) -> None:
        """Read again what was revoked; to be called after a change of it."""
        self.revoked = self._read()
        self.revision += 1

    def follow(self) -> bool:
        """Take over what another replica has revoked; return whether there was something."""
        if (found := self._read()) == self.revoked:
            return False
        self.revoked = found
        self.revision += 1
        return True

    def _read(self) -> Revoked:
        return Revoked(self._store.revocations(), self._store.watermarks("subject"), self._store.watermarks("client"))

    def _declare(self, settings: TokensSettings) -> None:
        """Make the declared clients those of the settings, all in one change."""
        now_s = self._clock.now_s()
        seeds = [load_seed(seed, settings.roles, now_s=now_s) for seed in settings.clients]
        seeds.append(COMMAND_LINE)
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
            self.end_tokens("client", client.client_id, by="settings")

    def _remove(self, client: Client, *, by: str) -> None:
        self._store.delete_client(client.client_id)
        self._note("client-deleted", client, by=by)
        self.end_tokens("client", client.client_id, by=by)

    def end_tokens(self, kind: Kind, name: str, *, by: str) -> float:
        """End every token and sign-in of a subject or client, inside a `change()` and before `look()`.

        Return the next whole second: tokens carry whole seconds, and none of this second may live on. One that was
        issued after another revocation of this same second carries the next one: it is ended by its id. A client is a
        subject, too, of its own tokens and of those by which services act for it.
        """
        now_s = self._clock.now_s()
        not_before_s = float(int(now_s) + 1)
        for each in {kind, "subject"}:
            self._store.put_watermark(each, name, not_before_s)
        for token_id, expires_s in self._store.tokens_issued(kind, name, since_s=not_before_s - 1).items():
            self._store.revoke(token_id, expires_s)
        of_subject, of_client = (name, None) if kind == "subject" else (None, name)
        for sign_in_id in self._people.sign_ins_of(subject=of_subject, client_id=of_client):
            self._people.end_sign_in(sign_in_id)
        self._store.audit(
            AuditEvent(
                at_s=now_s,
                event="tokens-revoked",
                client_id=of_client,
                subject=of_subject,
                details={"by": by, "not_before_s": not_before_s},
            )
        )
        return not_before_s

    def _note(self, event: str, client: Client, *, by: str) -> None:
        details = {"by": by, "tenant": client.tenant, "roles": client.roles, "declared": client.declared}
        self._store.audit(
            AuditEvent(at_s=self._clock.now_s(), event=event, client_id=client.client_id, details=details)
        )
