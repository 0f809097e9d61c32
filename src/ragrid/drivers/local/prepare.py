"""What must lie on disk before the first part starts: secrets, certificates, folders, the embedding model."""

from collections.abc import Callable

from ragrid.drivers.local.given_certificate import take_certificate
from ragrid.drivers.local.layout import open_layout
from ragrid.drivers.local.parts_control import consul_acl
from ragrid.drivers.local.parts_database import POSTGRESQL, database_address, services_with_accounts
from ragrid.drivers.local.parts_relay import KEY_FILE, key_directive
from ragrid.drivers.local.site import (
    CLIENT_CERTIFICATE,
    DATABASE_CERTIFICATE,
    SEEDED_CLIENTS,
    SERVICE_CERTIFICATE,
    SERVICE_NAME,
    Site,
)
from ragrid.errors import StateError
from ragrid.inference.model_files import ensure_model, is_model_directory
from ragrid.spec.secrets import resolve_secret
from ragrid.spec.values import SecretReference
from ragrid.system.clock import Clock
from ragrid.system.files import PRIVATE, write_if_changed


def prepare(site: Site, clock: Clock, *, say: Callable[[str], None]) -> None:
    """Make everything that is missing below the state directory; calling it again changes nothing.

    `say` hears what takes longer than a moment. Raises StateError for a directory that is not this grid's.
    """
    open_layout(site.layout.root, site.grid.grid)
    for name in (site.grid.registry.kind, "chromadb", "memory", "rag", "tokens", "gateway", "controller", "prometheus"):
        (site.layout.data / name).mkdir(mode=0o700, exist_ok=True)
    for name in ("gateway", "relay"):
        (site.layout.run / name).mkdir(mode=0o700, exist_ok=True)
    _ensure_certificates(site, clock)
    _ensure_database(site)
    site.secrets.ensure_client_secrets(SEEDED_CLIENTS)
    if site.grid.registry.kind == "consul":
        acl = consul_acl(site.secrets.ensure_registry_token(), version=site.programs.version("consul"))
        write_if_changed(site.secrets.consul_acl, acl, mode=PRIVATE)
    for name, reference in sorted(secret_references(site).items()):
        write_if_changed(
            site.secrets.resolved(name), resolve_secret(reference, base=site.source_directory).encode(), mode=PRIVATE
        )
    _write_relay_key(site)
    if _runs_the_model(site) and not is_model_directory(site.model_directory):
        say("making the embedding model from its weights (once)")
        found = ensure_model(site.model_directory)
        if found != site.model_directory:  # another program of this user has it already
            site.model_directory.parent.mkdir(parents=True, exist_ok=True)
            site.model_directory.symlink_to(found)


def _runs_the_model(site: Site) -> bool:
    """Tell whether a service embeds with the model of the grid, and not with one in a folder of its own."""
    rag, memory = site.grid.services.rag, site.grid.services.memory
    if rag is not None and rag.embedder.kind == "onnx":
        return True
    named = () if memory is None else (memory.embedder, memory.next_embedder)
    return any(one is not None and one.kind == "onnx" and one.directory is None for one in named)


def secret_references(site: Site) -> dict[str, SecretReference]:
    """Return the secrets that the grid file refers to, by the name of the file they are kept in."""
    rag, vllm, memory = site.grid.services.rag, site.grid.services.vllm, site.grid.services.memory
    named = {
        "memory-embedder-key": memory.embedder.api_key if memory and memory.embedder else None,
        "memory-next-embedder-key": memory.next_embedder.api_key if memory and memory.next_embedder else None,
        "database-url": site.grid.database.url if site.grid.needs_database else None,
        "embedder-key": rag.embedder.api_key if rag else None,
        "generator-key": rag.generator.api_key if rag else None,
        "vllm-key": vllm.api_key if vllm else None,
    }
    of_vllm = {
        f"vllm-{name}": value
        for name, value in (vllm.environment.items() if vllm else ())
        if isinstance(value, SecretReference)
    }
    return {**of_vllm, **{name: reference for name, reference in named.items() if reference is not None}}


def _write_relay_key(site: Site) -> None:
    vllm = site.grid.services.vllm
    if vllm is None or vllm.api_key is None:
        return
    key = site.secrets.resolved("vllm-key").read_text(encoding="utf-8")
    try:
        directive = key_directive(key)
    except ValueError as error:
        where = f"services.vllm.api_key: {vllm.api_key}"
        raise StateError(f"{where}: {error}; wanted letters, digits and -._~+/=; look at what it refers to") from error
    write_if_changed(site.secrets.resolved(KEY_FILE), directive.encode(), mode=PRIVATE)


def _ensure_database(site: Site) -> None:
    """Make the folders, passwords and addresses of the grid's own PostgreSQL, when it runs one."""
    if not site.grid.runs_database:
        return
    for folder in (site.layout.data, site.layout.run):
        (folder / POSTGRESQL).mkdir(mode=0o700, exist_ok=True)
    for service in services_with_accounts(site):
        address = database_address(site, service, site.secrets.ensure_database_password(service))
        write_if_changed(site.secrets.database_url(service), address.encode(), mode=PRIVATE)


def _ensure_certificates(site: Site, clock: Clock) -> None:
    now_s = clock.now_s()
    authority = site.secrets.ensure_authority(site.grid.grid, now_s=now_s)
    machine = site.grid.hosts[site.host]
    addresses = [str(address) for address in (machine.lan, machine.swarm, site.grid.gateway.vip) if address]
    names = list(dict.fromkeys([site.grid.gateway.name, *addresses, site.host, "localhost", "127.0.0.1"]))
    if site.grid.gateway.tls.mode == "files":
        take_certificate(site, now_s=now_s)
    else:
        site.secrets.ensure_leaf(authority, "gateway", names, now_s=now_s)
    site.secrets.ensure_leaf(authority, "etcd", list(dict.fromkeys([site.address, site.host])), now_s=now_s)
    if site.grid.runs_database:
        names_of_database = list(dict.fromkeys([site.address, site.host]))
        site.secrets.ensure_leaf(authority, DATABASE_CERTIFICATE, names_of_database, now_s=now_s)
    site.secrets.ensure_leaf(authority, "registry-client", ["registry-client"], now_s=now_s)
    if site.grid.gateway.mutual_tls:
        names = list(dict.fromkeys([SERVICE_NAME, site.address, site.host]))
        site.secrets.ensure_leaf(authority, SERVICE_CERTIFICATE, names, now_s=now_s)
        site.secrets.ensure_leaf(authority, CLIENT_CERTIFICATE, [CLIENT_CERTIFICATE], now_s=now_s)
