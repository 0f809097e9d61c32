"""The services that answer users: chromadb, memory, rag, vllm (pure)."""

from collections.abc import Iterator

from ragrid.drivers.local.part import Part, Probe, Scrape
from ragrid.drivers.local.parts_relay import relay_part
from ragrid.drivers.local.parts_vllm import vllm_parts
from ragrid.drivers.local.site import Site
from ragrid.spec.services import Chromadb, Embedder, Generator, Memory, Rag
from ragrid.spec.settings import (
    EmbedderSettings,
    GeneratorSettings,
    Listen,
    MemorySettings,
    RagSettings,
    dump_settings,
)

#: The pinned release: its storage internals and its API were measured, and backups depend on them.
CHROMADB_VERSION = "1.5.9"


def service_parts(site: Site) -> Iterator[Part]:
    """Yield the services that this host runs."""
    services = site.grid.services
    if services.chromadb and site.runs(services.chromadb.on):
        yield _chromadb(site, services.chromadb)
    if services.memory and site.runs(services.memory.on):
        yield _memory(site, services.memory)
    if services.rag and site.runs(services.rag.on):
        yield _rag(site, services.rag)
    if services.vllm and services.vllm.model:
        yield from vllm_parts(site, services.vllm, services.vllm.model)
    if services.vllm and services.vllm.address and site.runs(services.vllm.on):
        yield relay_part(site, services.vllm, services.vllm.address)


def python_part_command(site: Site, module: str, settings_file: str) -> tuple[str, ...]:
    """Return the command of a process of ours."""
    return (str(site.programs.python), "-m", module, "--settings", str(site.layout.root / settings_file))


def _chromadb(site: Site, service: Chromadb) -> Part:
    return Part(
        name="chromadb",
        version=CHROMADB_VERSION,
        command=(
            *(str(site.programs.python.parent / "chroma"), "run", "--path", str(site.layout.data / "chromadb")),
            *("--host", site.address, "--port", str(service.port)),
        ),
        # The default log writes 3 KB for every query; telemetry would speak to the world.
        environment={"RUST_LOG": "error", "ANONYMIZED_TELEMETRY": "False"},
        ports=(site.port("services.chromadb.port", service.port),),
        probe=Probe(f"http://{site.address}:{service.port}/api/v2/healthcheck"),
        scrape=Scrape(site.address, site.grid.agent.port, "/metrics/chromadb"),  # it has no metrics of its own
        priority=20,
    )


def _memory(site: Site, service: Memory) -> Part:
    settings = MemorySettings(
        listen=Listen(host=site.address, port=service.port, tls=site.service_tls),
        trust=site.trust("memory"),
        data_directory=site.layout.data / "memory",
        store=service.store,
        embedder=_memory_embedder(site, service),
        next_embedder=(
            None
            if service.next_embedder is None
            else _embedder(site, service.next_embedder, key="memory-next-embedder-key")
        ),
        database_url_file=site.database_url("memory") if service.store == "postgresql" else None,
        backups_kept=service.backups,
    )
    return _own(site, "memory", "ragrid.services.memory", service.port, dump_settings(settings))


def _rag(site: Site, service: Rag) -> Part:
    settings = RagSettings(
        listen=Listen(host=site.address, port=service.port, tls=site.service_tls),
        trust=site.trust("rag"),
        data_directory=site.layout.data / "rag",
        gateway_url=site.grid.public_url,
        gateway_ca_file=site.gateway_authority,
        embedder=_embedder(site, service.embedder),
        generator=_generator(site, service.generator),
        chunk_words=service.chunk_words,
        chunk_overlap_words=service.chunk_overlap_words,
    )
    return _own(site, "rag", "ragrid.services.rag", service.port, dump_settings(settings))


def _own(site: Site, name: str, module: str, port: int, settings: bytes) -> Part:
    file = f"etc/{name}.json"
    return Part(
        name=name,
        version=site.version,
        command=python_part_command(site, module, file),
        ports=(site.port(f"services.{name}.port", port),),
        probe=Probe(f"{site.own_address(site.address, port)}/readyz"),
        scrape=Scrape(site.address, port, tls=site.client_tls),
        files={file: settings},
        priority=30,
    )


def _memory_embedder(site: Site, service: Memory) -> EmbedderSettings | None:
    """Return what memory embeds with: its own, else what rag does; one model on the disk serves both."""
    if service.embedder is not None:
        return _embedder(site, service.embedder, key="memory-embedder-key")
    rag = site.grid.services.rag
    return None if rag is None else _embedder(site, rag.embedder)


def _embedder(site: Site, embedder: Embedder, *, key: str = "embedder-key") -> EmbedderSettings:
    return EmbedderSettings(
        kind=embedder.kind,
        model=embedder.model,
        directory=(embedder.directory or site.model_directory) if embedder.kind == "onnx" else None,
        address=embedder.address,
        api_key_file=site.secrets.resolved(key) if embedder.api_key else None,
    )


def _generator(site: Site, generator: Generator) -> GeneratorSettings:
    if generator.kind == "extractive":
        return GeneratorSettings(kind="extractive", timeout_s=generator.timeout.seconds)
    vllm = site.grid.services.vllm
    if generator.kind == "vllm" and vllm is not None:
        return GeneratorSettings(
            kind="openai",
            model=generator.model or vllm.served_model,
            address=f"{site.grid.public_url}/v1",
            ca_file=site.gateway_authority,
            timeout_s=generator.timeout.seconds,
        )
    return GeneratorSettings(
        kind="openai",
        model=generator.model,
        address=generator.address,
        api_key_file=site.secrets.resolved("generator-key") if generator.api_key else None,
        timeout_s=generator.timeout.seconds,
    )
