"""Secrets of a grid on one machine: made once, 0600 in a 0700 directory, never rendered anywhere else."""

import secrets
import uuid
from collections.abc import Sequence
from pathlib import Path

from ragrid.errors import StateError
from ragrid.system.certificates import KeyPair, make_authority, make_leaf, still_serves
from ragrid.system.files import PLAIN, PRIVATE, write_atomic

#: Bytes of a client secret: 256 bits, so that a plain hash of it may be stored (no guessing is possible).
SECRET_BYTES = 32


class SecretStore:
    """Makes what is missing and leaves the rest alone, so that calling it again changes nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def authority_certificate(self) -> Path:
        """The CA certificate that clients of the grid trust; not a secret."""
        return self.directory / "ca.crt"

    def certificate(self, name: str) -> Path:
        """The certificate file of `name`."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The private key file of `name`."""
        return self.directory / f"{name}.key"

    def client_secret(self, client_id: str) -> Path:
        """The file that holds the secret of an OAuth client."""
        return self.directory / "clients" / client_id

    @property
    def registry_token(self) -> Path:
        """The file that holds Consul's ACL token."""
        return self.directory / "registry-token"

    @property
    def consul_acl(self) -> Path:
        """The part of Consul's configuration that holds the token, and is therefore not rendered."""
        return self.directory / "consul-acl.json"

    def database_password(self, service: str) -> Path:
        """The file that holds the password of the database role of `service`."""
        return self.directory / "database" / f"{service}.password"

    def database_url(self, service: str) -> Path:
        """The file that holds the address of the database of `service`, password included."""
        return self.directory / "database" / f"{service}.url"

    def resolved(self, name: str) -> Path:
        """The file that keeps the value of a secret that the grid file refers to."""
        return self.directory / "resolved" / name

    def ensure_authority(self, grid: str, *, now_s: float) -> KeyPair:
        """Return the grid's certificate authority, making it at the first call.

        Raises StateError when one half of it is gone: a new one would cut off every client that trusts the old.
        """
        certificate, key = self.authority_certificate, self.key("ca")
        if certificate.exists() and key.exists():
            return KeyPair(certificate.read_bytes(), key.read_bytes())
        if certificate.exists() or key.exists():
            missing = key if certificate.exists() else certificate
            raise StateError(f"{missing}: missing beside its other half; restore it from a backup, or remove both")
        pair = make_authority(f"ragrid {grid} internal CA", now_s=now_s)
        write_atomic(key, pair.key, mode=PRIVATE)
        write_atomic(certificate, pair.certificate, mode=PLAIN)
        return pair

    def ensure_leaf(self, authority: KeyPair, name: str, names: Sequence[str], *, now_s: float) -> bool:
        """Make the certificate of `name` when it is missing, near its end or for other names; tell whether it was."""
        certificate, key = self.certificate(name), self.key(name)
        if certificate.exists() and key.exists() and still_serves(certificate.read_bytes(), names, now_s=now_s):
            return False
        pair = make_leaf(authority, name, names, now_s=now_s)
        write_atomic(key, pair.key, mode=PRIVATE)
        write_atomic(certificate, pair.certificate, mode=PLAIN)
        return True

    def ensure_registry_token(self) -> str:
        """Return Consul's ACL token, making it at the first call."""
        if not self.registry_token.exists():
            write_atomic(self.registry_token, str(uuid.uuid4()).encode(), mode=PRIVATE)
        return self.registry_token.read_text(encoding="utf-8")

    def ensure_database_password(self, service: str) -> str:
        """Return the password of the database role of `service`, making it at the first call."""
        path = self.database_password(service)
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, secrets.token_urlsafe(SECRET_BYTES).encode(), mode=PRIVATE)
        return path.read_text(encoding="utf-8")

    def ensure_client_secrets(self, client_ids: Sequence[str]) -> None:
        """Make the secret of every client that has none."""
        for client_id in client_ids:
            path = self.client_secret(client_id)
            if not path.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                write_atomic(path, secrets.token_urlsafe(SECRET_BYTES).encode(), mode=PRIVATE)
