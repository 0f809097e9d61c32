"""What each process of ours is started with: `etc/<part>.json`, rendered by a driver, read once at start.

A settings file holds no secret, only the paths of files that do. Unknown members are refused, so a file of another
version never half-works. Ports are TCP, times are seconds, sizes are bytes.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from ragrid.errors import StateError


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Common ground: immutable, named members, nothing unknown."""


class ListenTls(_Settings, frozen=True, kw_only=True):
    """The certificate that a service shows; it answers nobody without one of `client_authority_file` (all PEM)."""

    certificate_file: Path
    key_file: Path
    client_authority_file: Path


class Listen(_Settings, frozen=True, kw_only=True):
    """Where a service listens; without `tls`, to everybody who reaches the port."""

    host: str = "127.0.0.1"
    port: int
    tls: ListenTls | msgspec.UnsetType = msgspec.UNSET


class ClientTls(_Settings, frozen=True, kw_only=True):
    """What a part of ours shows to a service that listens with `tls`, and whom it takes for one (all PEM)."""

    certificate_file: Path
    key_file: Path
    authority_file: Path


class TokenTrust(_Settings, frozen=True, kw_only=True):
    """Whose tokens a service accepts, where the verification keys lie, and what was revoked.

    Both files are kept fresh by the gateway controller. Without `revocations_file` nothing is known to be revoked.
    """

    issuer: str
    audience: str
    jwks_file: Path
    revocations_file: Path | None = None


class RegistryAddress(_Settings, frozen=True, kw_only=True):
    """How to reach the registry; client certificates when the registry asks for them."""

    kind: Literal["etcd", "consul"]
    url: str
    namespace: str
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None


class ClientSeed(_Settings, frozen=True, kw_only=True):
    """One OAuth client that exists from the first start; its secret lies in a file with mode 0600."""

    client_id: str
    secret_file: Path
    roles: tuple[str, ...]
    tenant: str


class TokensSettings(_Settings, frozen=True, kw_only=True):
    """The token service.

    A person signs in for `sign_in_s` at most; a refresh token that is not used for `refresh_token_s` ends it earlier.
    With `postgresql`, `database_url_file` (mode 0600) holds the address of the database, and replicas share it.
    """

    listen: Listen
    issuer: str
    audiences: tuple[str, ...]
    data_directory: Path
    access_token_s: float = 600.0
    service_token_s: float = 86_400.0
    key_rotation_s: float = 86_400.0
    sign_in_s: float = 30 * 86_400.0
    refresh_token_s: float = 7 * 86_400.0
    roles: dict[str, tuple[str, ...]]
    clients: tuple[ClientSeed, ...]
    store: Literal["sqlite", "postgresql"] = "sqlite"
    database_url_file: Path | None = None


class MemorySettings(_Settings, frozen=True, kw_only=True):
    """The memory service. `max_store_bytes` bounds SQLite's file; without it, the disk does.

    With `postgresql`, `database_url_file` (mode 0600) holds the address of the database, and replicas share it.
    Without an `embedder`, searches are by words. The vectors of `next_embedder` are made beside those in use and take
    their place once they are complete. `vector_cache_bytes` bounds the vectors in memory. Of the backups that were
    asked for, the newest `backups_kept` stay.
    """

    listen: Listen
    trust: TokenTrust
    data_directory: Path
    store: Literal["sqlite", "postgresql"] = "sqlite"
    database_url_file: Path | None = None
    public_prefix: str = "/memory"
    max_store_bytes: int | None = None
    embedder: "EmbedderSettings | None" = None
    next_embedder: "EmbedderSettings | None" = None
    vector_cache_bytes: int = 512 * 1024 * 1024
    backups_kept: Annotated[int, msgspec.Meta(ge=1)] = 3


class DatabaseAccount(_Settings, frozen=True, kw_only=True):
    """A role of the grid's PostgreSQL that owns the database of the same name.

    `extensions` are made in it where the server has them.
    """

    name: str
    password_file: Path
    extensions: tuple[str, ...] = ()


class DatabaseSettings(_Settings, frozen=True, kw_only=True):
    """The grid's own PostgreSQL: it serves on `host` and `port`, its metrics are on `listen`."""

    listen: Listen
    host: str
    port: int
    programs_directory: Path
    data_directory: Path
    run_directory: Path
    certificate_file: Path
    key_file: Path
    accounts: tuple[DatabaseAccount, ...]
    max_connections: int = 200


class EmbedderSettings(_Settings, frozen=True, kw_only=True):
    """What turns text into vectors. `address` and `api_key_file` are for `openai`; `directory`, `threads` for `onnx`.

    No more threads are used than the machine has processors.
    """

    kind: Literal["onnx", "hashing", "openai"]
    model: str = "all-MiniLM-L6-v2"
    directory: Path | None = None
    address: str | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    threads: int = 2


class GeneratorSettings(_Settings, frozen=True, kw_only=True):
    """What turns passages into an answer. For `openai`, `address` ends in /v1.

    Without `api_key_file` the caller's own token is passed on (the grid's own vLLM behind the gateway).
    """

    kind: Literal["extractive", "openai"]
    model: str | None = None
    address: str | None = None
    api_key_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 120.0


class RagSettings(_Settings, frozen=True, kw_only=True):
    """The retrieval service. It reaches ChromaDB and the model through the gateway, with the caller's own token."""

    listen: Listen
    trust: TokenTrust
    data_directory: Path
    gateway_url: str
    gateway_ca_file: Path | None
    embedder: EmbedderSettings
    generator: GeneratorSettings
    chunk_words: int = 120
    chunk_overlap_words: int = 20
    public_prefix: str = "/rag"


class ControllerSettings(_Settings, frozen=True, kw_only=True):
    """The gateway controller: watches registry and keys, pushes state to nginx, keeps the last good state on disk.

    `token_services` are private addresses without a path; any of them will do, since they share a store.
    """

    registry: RegistryAddress
    token_services: tuple[str, ...]
    token_services_tls: ClientTls | msgspec.UnsetType = msgspec.UNSET
    admin_socket: Path
    state_file: Path
    jwks_file: Path
    revocations_file: Path
    policy_file: Path
    listen: Listen


class Check(_Settings, frozen=True, kw_only=True):
    """How the agent decides that an instance works.

    `chroma` queries, `completion` asks for one token, `http` wants status 200 at `path`, `tcp` connects.
    """

    kind: Literal["http", "tcp", "chroma", "completion"]
    path: str = "/"
    model: str | None = None
    interval_s: float = 2.0
    timeout_s: float = 2.0
    rise: int = 1
    fall: int = 2


class RestartRules(_Settings, frozen=True, kw_only=True):
    """When the agent starts `part`, the supervisor's name, again: once its check has failed for `after_s`.

    A process that has not worked since its start gets `start_s`. After `attempts` without success it is left alone.
    `only_silent`: an answer that says "not ready" is no reason, for a restart mends no full disk and no other service.
    """

    part: str
    after_s: float = 20.0
    start_s: float = 120.0
    attempts: int = 5
    only_silent: bool = False


class WatchedInstance(_Settings, frozen=True, kw_only=True):
    """One instance that the agent looks after; `register` is false for parts that no gateway route leads to.

    Without `restart`, it is never restarted by the agent.
    """

    service: str
    instance_id: str
    host: str
    port: int
    version: str
    weight: int = 1
    register: bool = True
    scheme: Literal["http", "https"] = "http"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check: Check
    restart: RestartRules | None = None


class AgentSettings(_Settings, frozen=True, kw_only=True):
    """The agent of one host. It tells when the `certificates` (PEM) end."""

    host_name: str
    registry: RegistryAddress
    listen: Listen
    lease_s: float = 10.0
    instances: tuple[WatchedInstance, ...]
    status_file: Path
    log_directory: Path | None = None
    certificates: tuple[Path, ...] = ()
    supervisor_command: tuple[str, ...] = ()
    supervisor_socket: Path | None = None


S = TypeVar("S", bound=_Settings)


def load_settings(path: Path, kind: type[S]) -> S:
    """Read one settings file.

    Raises StateError naming the file and the member when it is missing, not JSON, or not of this `kind`.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_from_json)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; run `ragrid up` to render it again") from error
    except msgspec.MsgspecError as error:
        raise StateError(f"{path}: {error}; wanted {kind.__name__}; run `ragrid up` to render it again") from error


def _from_json(kind: type, value: object) -> object:
    """Build what msgspec does not know itself: paths."""
    if kind is not Path:
        raise NotImplementedError(f"{kind.__name__}: no such type in a settings file")
    if not isinstance(value, str):
        raise TypeError(f"expected a path, got {type(value).__name__}")
    return Path(value)


def dump_settings(settings: _Settings) -> bytes:
    """Return the same bytes for the same settings: members in order of declaration, indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(settings, enc_hook=str), indent=2) + b"\n"
