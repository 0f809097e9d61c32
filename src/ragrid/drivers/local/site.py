"""One host of a grid as the local driver sees it: the grid, the directory, the programs and what follows from them."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.part import Port
from ragrid.drivers.local.secrets import SecretStore
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.spec.models import Grid
from ragrid.spec.settings import ClientTls, ListenTls, RegistryAddress, TokenTrust

#: Clients that exist from the start: three for people and scripts, and one for each service role.
SEEDED_CLIENTS = tuple(BUILTIN_ROLES)


@dataclass(frozen=True)
class Programs:
    """Absolute paths of what is run, and the versions found there."""

    python: Path
    nginx: Path
    etcd: Path
    consul: Path
    prometheus: Path
    node_exporter: Path
    #: The folder with `initdb` and `postgres`.
    postgresql: Path
    #: Program name -> version, as the programs say it.
    versions: tuple[tuple[str, str], ...] = ()

    def version(self, name: str) -> str:
        """Return the version of `name`, or "unknown"."""
        return dict(self.versions).get(name, "unknown")


#: The name that each of our own services proves to have, whatever its address is, in mutual TLS.
SERVICE_NAME = "service.ragrid.internal"
#: Names in the secret store: what our own services show, and what who may speak to them shows.
SERVICE_CERTIFICATE = "service"
CLIENT_CERTIFICATE = "service-client"
DATABASE_CERTIFICATE = "postgresql"


@dataclass(frozen=True)
class Site:
    """`host` of `grid` below `layout`; everything derived here is pure."""

    grid: Grid
    host: str
    layout: Layout
    programs: Programs
    version: str
    #: The folder of the grid file: where a relative `file:PATH` is looked for.
    source_directory: Path = Path()
    #: Started by root: nginx keeps its workers root too, or they could not enter the private state directory.
    as_root: bool = False

    @property
    def secrets(self) -> SecretStore:
        """The names of the grid's secret files."""
        return SecretStore(self.layout.secrets)

    @property
    def gateway_certificate(self) -> str:
        """The name of the gateway's certificate in the secret store; a user's own has another, so neither is lost."""
        return "gateway" if self.grid.gateway.tls.mode == "internal-ca" else "gateway-given"

    @property
    def gateway_authority(self) -> Path:
        """What the grid's own parts and commands verify the gateway with."""
        if self.grid.gateway.tls.mode == "internal-ca":
            return self.secrets.authority_certificate
        return self.secrets.directory / "gateway-authority.crt"

    @property
    def certificates(self) -> tuple[str, ...]:
        """The names, in the secret store, of the certificates that this host works with, the authority's among them."""
        database = (DATABASE_CERTIFICATE,) if self.grid.runs_database else ()
        mutual = (SERVICE_CERTIFICATE, CLIENT_CERTIFICATE) if self.grid.gateway.mutual_tls else ()
        return ("ca", self.gateway_certificate, "etcd", "registry-client", *database, *mutual)

    @property
    def address(self) -> str:
        """The private address that this host's parts listen on."""
        return self.grid.address_of(self.host, "services")

    @property
    def model_directory(self) -> Path:
        """Where the local embedding model lies."""
        named = self.grid.services.rag.embedder.directory if self.grid.services.rag else None
        return named or self.layout.data / "models" / "all-MiniLM-L6-v2"

    @property
    def service_tls(self) -> ListenTls | msgspec.UnsetType:
        """What our own services listen with: certificates on both sides, when the grid wants them."""
        if not self.grid.gateway.mutual_tls:
            return msgspec.UNSET
        return ListenTls(
            certificate_file=self.secrets.certificate(SERVICE_CERTIFICATE),
            key_file=self.secrets.key(SERVICE_CERTIFICATE),
            client_authority_file=self.secrets.authority_certificate,
        )

    @property
    def client_tls(self) -> ClientTls | None:
        """What the grid's parts show to our own services."""
        if not self.grid.gateway.mutual_tls:
            return None
        return ClientTls(
            certificate_file=self.secrets.certificate(CLIENT_CERTIFICATE),
            key_file=self.secrets.key(CLIENT_CERTIFICATE),
            authority_file=self.secrets.authority_certificate,
        )

    def own_address(self, host: str, port: int) -> str:
        """Return where one of our own services answers."""
        return f"{'https' if self.grid.gateway.mutual_tls else 'http'}://{host}:{port}"

    @property
    def jwks_file(self) -> Path:
        """Verification keys, kept fresh by the gateway controller."""
        return self.layout.data / "controller" / "jwks.json"

    @property
    def revocations_file(self) -> Path:
        """What was revoked, kept fresh by the gateway controller."""
        return self.layout.data / "controller" / "revocations.json"

    @property
    def audiences(self) -> tuple[str, ...]:
        """Every service that a token may be for."""
        return (*(name for name, _ in self.grid.services.named()), "tokens")

    def database_url(self, service: str) -> Path:
        """The file that holds the address of the database which `service` keeps its data in."""
        return self.secrets.resolved("database-url") if self.grid.database.url else self.secrets.database_url(service)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """The built-in roles and the grid's own; the grid's win."""
        return {**BUILTIN_ROLES, **self.grid.auth.roles}

    def runs(self, hosts: tuple[str, ...]) -> bool:
        """Tell whether this host is one of `hosts`."""
        return self.host in hosts

    def port(self, key: str, number: int, host: str | None = None) -> Port:
        """Return a port on this host's private address, or on `host`."""
        return Port(key, host or self.address, number)

    def trust(self, audience: str) -> TokenTrust:
        """Return whose tokens the service `audience` accepts."""
        return TokenTrust(
            issuer=self.grid.public_url,
            audience=audience,
            jwks_file=self.jwks_file,
            revocations_file=self.revocations_file,
        )

    def registry(self) -> RegistryAddress:
        """Return how parts of this host reach the registry; etcd asks for client certificates."""
        registry = self.grid.registry
        hosts = [self.grid.address_of(name) for name in registry.on]
        if registry.kind == "consul":  # each host's own agent where there is one: that is where its services belong
            near = self.address if self.runs(registry.on) else hosts[0]
            return RegistryAddress(
                kind="consul",
                url=f"http://{near}:{registry.port}",
                namespace=self.grid.grid,
                token_file=self.secrets.registry_token,
            )
        return RegistryAddress(
            kind="etcd",
            url=",".join(f"https://{host}:{registry.port}" for host in hosts),
            namespace=self.grid.grid,
            ca_file=self.secrets.authority_certificate,
            certificate_file=self.secrets.certificate("registry-client"),
            key_file=self.secrets.key("registry-client"),
        )


def python_version() -> str:
    """Return the version of the interpreter that runs this."""
    return platform.python_version()


def interpreter() -> Path:
    """Return the interpreter that ragrid is installed for."""
    return Path(sys.executable)
