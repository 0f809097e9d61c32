"""An Issuer on a real store in a temporary folder, with a clock that stands still."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ragrid.identity.keys import FixedKeys, parse_jwks
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.identity.verify import TokenVerifier
from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.grants import Credentials, Form
from ragrid.services.tokens.issuer import IssuedToken, Issuer
from ragrid.services.tokens.sign_ins import SignIns
from ragrid.services.tokens.store import AuditEvent, AuditQuery, Store, open_shared_store, open_store
from ragrid.services.tokens.users import Users
from ragrid.spec.settings import ClientSeed, Listen, TokensSettings, TokenTrust
from ragrid.system.clock import ManualClock
from ragrid.system.files import write_atomic

ISSUER = "https://grid.test"
PLAIN = Form({"grant_type": ("client_credentials",)})


def settings_in(folder: Path, clients: tuple[ClientSeed, ...] = ()) -> TokensSettings:
    """Settings of a token service that keeps its data below `folder`; nothing is written."""
    return TokensSettings(
        listen=Listen(port=0),
        issuer=ISSUER,
        audiences=("chromadb", "memory"),
        data_directory=folder / "data",
        roles=dict(BUILTIN_ROLES),
        clients=clients,
    )


@dataclass
class Desk:
    """What a test needs of one token service; `start` is a restart."""

    folder: Path
    #: Holds the address of a PostgreSQL database; without it, the store is a SQLite file.
    url_file: Path | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    seeds: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"ada": ("reader",), "root": ("admin",), "memory": ("memory-service",)}
    )
    secrets: dict[str, str] = field(default_factory=dict)

    def settings(self) -> TokensSettings:
        clients = []
        for client_id, roles in self.seeds.items():
            path = self.folder / f"{client_id}.secret"
            write_atomic(path, self.secrets.setdefault(client_id, secrets.token_urlsafe(32)).encode(), mode=0o600)
            clients.append(ClientSeed(client_id=client_id, secret_file=path, roles=roles, tenant="default_tenant"))
        return settings_in(self.folder, tuple(clients))

    def start(self) -> Issuer:
        self.stop()
        self.store: Store = self.open()
        self.issuer = Issuer(self.settings(), self.store, self.clock)
        return self.issuer

    def open(self) -> Store:
        return open_shared_store(self.url_file) if self.url_file else open_store(self.folder / "data")

    def stop(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    def person(self, name: str = "eve", *roles: str) -> None:
        """Make a person whose password nobody hashes: these tests do not sign in with it."""
        users = Users(self.store, self.issuer, self.clock)
        users.add(name, tenant="team", roles=roles or ("writer",), password_hash="-", by="root")

    def sign_ins(self) -> SignIns:
        return SignIns(self.settings(), self.store, self.issuer, self.clock)

    def client(self, client_id: str) -> Client:
        return self.issuer.authenticate(Credentials(client_id, self.secrets[client_id]))

    def token(self, client_id: str) -> IssuedToken:
        return self.issuer.issue(PLAIN, self.client(client_id))

    def verifier(self, jwks: bytes, *, audience: str = "memory") -> TokenVerifier:
        trust = TokenTrust(issuer=ISSUER, audience=audience, jwks_file=self.folder)
        return TokenVerifier(trust, FixedKeys(parse_jwks(jwks)), self.clock)

    def events(self) -> list[str]:
        return [event.event for event in self.lines()]

    def lines(self) -> list[AuditEvent]:
        return self.issuer.audit_lines(AuditQuery(), 1000)
