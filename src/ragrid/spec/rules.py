"""What the keys of a grid must be to one another; each rule is a pure function from a grid to what is wrong with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ragrid.spec.faults import Path, shown, written
from ragrid.spec.hosts import USUAL_PURPOSES
from ragrid.spec.models import Grid
from ragrid.spec.outline import alternatives
from ragrid.spec.scalars import is_secret_name
from ragrid.spec.services import Embedder
from ragrid.spec.values import Duration, SecretReference

_DAY_S = 86_400.0
#: Arguments of `vllm serve` that have a key of their own in the grid, or would show a secret in the process list.
_OWN_ARGUMENTS = {
    "--host": "delete it; vLLM listens on the address that the gateway uses",
    "--port": "write `port: …` instead",
    "--model": "write `model: …` instead",
    "--served-model-name": "write `served_name: …` instead",
    "--max-model-len": "write `max_model_len: …` instead",
    "--tensor-parallel-size": "write `tensor_parallel: …` instead",
    "--distributed-executor-backend": "write `executor: …` instead",
    "--api-key": "delete it; the gateway checks who calls",
    "--hf-token": "write `environment: {HF_TOKEN: env:HF_TOKEN}` instead",
}


@dataclass(frozen=True)
class Conflict:
    """Two keys that do not go together: `path` is where it is said, `involved` what else it depends on.

    When one of them could not be read, the conflict is moot. A mapping among `involved` stands for its keys too.
    """

    path: Path
    got: str
    wanted: str
    advice: str
    involved: tuple[Path, ...] = ()


def conflicts(grid: Grid) -> Iterator[Conflict]:
    """Yield everything that is wrong between the keys of `grid`."""
    for rule in RULES:
        yield from rule(grid)


def _placements(grid: Grid) -> Iterator[tuple[Path, tuple[str, ...]]]:
    yield ("gateway", "on"), grid.gateway.on
    yield ("registry", "on"), grid.registry.on
    yield ("auth", "on"), grid.auth.on
    yield ("database", "on"), grid.database.on
    yield ("monitoring", "on"), grid.monitoring.on
    for name, service in grid.services.named():
        if name != "vllm":
            yield ("services", name, "on"), service.on
    if grid.services.vllm is not None:
        yield ("services", "vllm", "workers"), grid.services.vllm.workers


def hosts_are_known(grid: Grid) -> Iterator[Conflict]:
    """Everything is placed on hosts that the grid declares, once on each."""
    known = alternatives(tuple(grid.hosts))
    for path, names in _placements(grid):
        for position, name in enumerate(names):
            if name not in grid.hosts:
                advice = f"add {name} to `hosts`, or place it on a host that is there"
                yield Conflict((*path, position), shown(name), f"one of the hosts {known}", advice, (("hosts",),))
            elif name in names[:position]:
                yield Conflict((*path, position), f"{name!r} twice", "each host once", "delete one of the two")
    vllm = grid.services.vllm
    if vllm is not None and vllm.head not in grid.hosts:
        advice = f"add {vllm.head} to `hosts`, or choose a host that is there"
        head: Path = ("services", "vllm", "head")
        yield Conflict(head, shown(vllm.head), f"one of the hosts {known}", advice, (("hosts",),))


def _ports(grid: Grid) -> Iterator[tuple[tuple[str, ...], Path, int]]:
    every = tuple(grid.hosts)
    for key in ("http", "https", "metrics_port", "controller_port"):
        yield grid.gateway.on, ("gateway", key), getattr(grid.gateway, key)
    own = ("metrics_port",) if grid.registry.kind == "etcd" else ("gossip_port",)
    for key in ("port", "peer_port", *own):
        yield grid.registry.on, ("registry", key), getattr(grid.registry, key)
    yield grid.auth.on, ("auth", "port"), grid.auth.port
    if grid.runs_database:
        for key in ("port", "metrics_port"):
            yield grid.database.on, ("database", key), getattr(grid.database, key)
    yield every, ("agent", "port"), grid.agent.port
    for name, service in grid.services.named():
        if name != "vllm" or (grid.services.vllm is not None and grid.services.vllm.address is None):
            yield service.on, ("services", name, "port"), service.port
    yield grid.monitoring.on, ("monitoring", "port"), grid.monitoring.port
    yield every, ("monitoring", "node_exporter_port"), grid.monitoring.node_exporter_port


def something_is_served(grid: Grid) -> Iterator[Conflict]:
    """A grid runs at least one service."""
    if not any(grid.services.named()):
        yield Conflict(("services",), "no service", "at least one", "add `chromadb: {}`, `memory: {}` and `rag: {}`")


def ports_are_distinct(grid: Grid) -> Iterator[Conflict]:
    """No two parts listen on the same port of a host."""
    taken: dict[tuple[str, int], Path] = {}
    told: set[tuple[Path, Path]] = set()
    for hosts, path, port in _ports(grid):
        for host in hosts:
            other = taken.setdefault((host, port), path)
            if other != path and (path, other) not in told:
                told.add((path, other))
                wanted = f"a port of its own on host {host!r}, where `{written(other)}` has it"
                yield Conflict(path, str(port), wanted, "change one of the two", (other,))


def addresses_are_in_their_networks(grid: Grid) -> Iterator[Conflict]:
    """Each host's address lies in the network of that name, and no two hosts share one."""
    seen: dict[tuple[str, object], str] = {}
    for host_name, host in grid.hosts.items():
        for network_name in USUAL_PURPOSES:
            address, network = getattr(host, network_name), getattr(grid.networks, network_name)
            if address is None:
                continue
            path: Path = ("hosts", host_name, network_name)
            if network is not None and address not in network.cidr:
                cidr: Path = ("networks", network_name, "cidr")
                yield Conflict(
                    path, f"'{address}'", f"an address in {network.cidr}", f"change it, or `{written(cidr)}`", (cidr,)
                )
            other = seen.setdefault((network_name, address), host_name)
            if other != host_name:
                first: Path = ("hosts", other, network_name)
                wanted = f"an address of its own; `{written(first)}` has this one"
                yield Conflict(path, f"'{address}'", wanted, "change one of the two", (first,))


def tokens_end_before_their_key(grid: Grid) -> Iterator[Conflict]:
    """No token outlives the time that the key which signed it stays published."""
    rotation: Path = ("auth", "key_rotation")
    lives: dict[str, Duration] = {"access_token": grid.auth.access_token, "service_token": grid.auth.service_token}
    for key, life in lives.items():
        if life.seconds > grid.auth.key_rotation.seconds:
            wanted = f"at most `{written(rotation)}`, {grid.auth.key_rotation}"
            advice = "shorten it, or rotate keys less often; else tokens die with their key"
            yield Conflict(("auth", key), shown(str(life)), wanted, advice, (rotation,))


def service_tokens_live_a_day(grid: Grid) -> Iterator[Conflict]:
    """A token that was stolen from a service is worthless a day later."""
    if grid.auth.service_token.seconds > _DAY_S:
        advice = "shorten it; services renew their tokens by themselves"
        yield Conflict(("auth", "service_token"), shown(str(grid.auth.service_token)), "at most 24h", advice)


def tokens_can_be_shared(grid: Grid) -> Iterator[Conflict]:
    """Tokens on several hosts have a store that several processes can share."""
    if grid.auth.store == "sqlite" and len(grid.auth.on) > 1:
        path, on = ("auth", "store"), ("auth", "on")
        wanted = f"`postgresql` for tokens on {len(grid.auth.on)} hosts"
        yield Conflict(path, "'sqlite'", wanted, "change it, or name one host", (on,))


def database_runs_once(grid: Grid) -> Iterator[Conflict]:
    """The grid's own PostgreSQL runs on one host: two would be two truths."""
    if grid.runs_database and len(grid.database.on) > 1:
        path: Path = ("database", "on")
        yield Conflict(path, f"{len(grid.database.on)} hosts", "one", "name one; for a replicated one give its `url`")


def memory_can_be_shared(grid: Grid) -> Iterator[Conflict]:
    """Memory on several hosts has a store that several processes can share."""
    memory = grid.services.memory
    if memory is not None and memory.store == "sqlite" and len(memory.on) > 1:
        path: Path = ("services", "memory", "store")
        on: Path = ("services", "memory", "on")
        yield Conflict(
            path, "'sqlite'", f"`postgresql` for memory on {len(memory.on)} hosts", "change it, or name one host", (on,)
        )


def weights_are_of_its_hosts(grid: Grid) -> Iterator[Conflict]:
    """A weight is given to a host that runs the service."""
    services = grid.services
    for name, service in (("chromadb", services.chromadb), ("memory", services.memory), ("rag", services.rag)):
        if service is None:
            continue
        on: Path = ("services", name, "on")
        for host in (host for host in service.weights if host not in service.on):
            wanted = f"one of the hosts that run it: {alternatives(service.on)}"
            advice = f"delete it, or add it to `{written(on)}`"
            yield Conflict(("services", name, "weights", host), shown(host), wanted, advice, (on,))


def rag_has_what_it_needs(grid: Grid) -> Iterator[Conflict]:
    """The rag service has its vector store, embedder and generator; its passages move on."""
    rag, here = grid.services.rag, ("services", "rag")
    if rag is None:
        return
    if grid.services.chromadb is None:
        wanted = "`services.chromadb`, where rag keeps its vectors"
        yield Conflict(here, "rag alone", wanted, "add `chromadb: {}` to `services`", (("services", "chromadb"),))
    if rag.chunk_overlap_words >= rag.chunk_words:
        chunk: Path = (*here, "chunk_words")
        wanted = f"fewer than `{written(chunk)}`, {rag.chunk_words}"
        yield Conflict((*here, "chunk_overlap_words"), str(rag.chunk_overlap_words), wanted, "lower it", (chunk,))
    if rag.embedder.kind == "openai" and rag.embedder.address is None:
        yield _needs((*here, "embedder"), "openai", "address", "http://127.0.0.1:8000/v1")
    if rag.generator.kind == "openai":
        if rag.generator.address is None:
            yield _needs((*here, "generator"), "openai", "address", "http://127.0.0.1:8000/v1")
        if rag.generator.model is None:
            yield _needs((*here, "generator"), "openai", "model", "NAME")
    for part, kind, key in _idle_keys(grid):
        advice = f"delete it, or choose another `{written((*here, part, 'kind'))}`"
        yield Conflict(
            (*here, part, key), f"`{key}`", f"no such key with kind `{kind}`", advice, ((*here, part, "kind"),)
        )


def memory_embeds_with_what_is_there(grid: Grid) -> Iterator[Conflict]:
    """The embedders that memory names have all they need, and nothing that their kind would silently ignore."""
    memory = grid.services.memory
    for part in ("embedder", "next_embedder"):
        embedder: Embedder | None = None if memory is None else getattr(memory, part)
        if embedder is None:
            continue
        here: Path = ("services", "memory", part)
        if embedder.kind == "openai" and embedder.address is None:
            yield _needs(here, "openai", "address", "http://127.0.0.1:8000/v1")
        kinds = {"directory": "onnx", "address": "openai", "api_key": "openai"}
        for key in (key for key, kind in kinds.items() if getattr(embedder, key) is not None and kind != embedder.kind):
            advice = f"delete it, or choose another `{written((*here, 'kind'))}`"
            wanted = f"no such key with kind `{embedder.kind}`"
            yield Conflict((*here, key), f"`{key}`", wanted, advice, ((*here, "kind"),))


def _needs(part: Path, kind: str, key: str, example: str) -> Conflict:
    return Conflict((*part, "kind"), shown(kind), f"`{key}` beside it", f"add `{key}: {example}`", ((*part, key),))


def _idle_keys(grid: Grid) -> Iterator[tuple[str, str, str]]:
    """Yield keys of the embedder and generator that their kind would silently ignore."""
    rag = grid.services.rag
    if rag is None:
        return
    embedder, generator = rag.embedder, rag.generator
    if embedder.kind != "onnx" and embedder.directory is not None:
        yield "embedder", embedder.kind, "directory"
    for part, kind, section in (("embedder", embedder.kind, embedder), ("generator", generator.kind, generator)):
        if kind != "openai":
            yield from ((part, kind, key) for key in ("address", "api_key") if getattr(section, key) is not None)


def generator_is_served(grid: Grid) -> Iterator[Conflict]:
    """A generator of kind vllm has a vllm service whose model has a name."""
    rag, vllm = grid.services.rag, grid.services.vllm
    if rag is None or rag.generator.kind != "vllm":
        return
    path: Path = ("services", "rag", "generator", "kind")
    if vllm is None:
        advice = "add `vllm: {model: …}` to `services`, or write `kind: extractive`"
        yield Conflict(path, "'vllm'", "`services.vllm`", advice, (("services", "vllm"),))
    elif vllm.served_model is None and rag.generator.model is None and vllm.address is not None:
        wanted = "the model's name"
        advice = "add `served_name: …` to `services.vllm`, as the server at its address calls it"
        yield Conflict(path, "'vllm'", wanted, advice, (("services", "vllm"),))


def vllm_has_one_source(grid: Grid) -> Iterator[Conflict]:
    """vLLM is either run here, or reached at an address."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None:
        return
    address: Path = (*here, "address")
    if vllm.model is None and vllm.address is None:
        advice = "add `model: NAME` to run one here, or `address: http://…/v1` to use one that runs"
        yield Conflict(
            here, "neither `model` nor `address`", "one of them", advice, ((*here, "model"), (*here, "address"))
        )
    if vllm.address is None and vllm.api_key is not None:
        yield Conflict((*here, "api_key"), "`api_key`", "it only beside `address`", "delete it", (address,))
    if vllm.address is not None:
        run_here = ("model", "max_model_len", "workers", "extra_args", "environment")
        for key in (key for key in run_here if getattr(vllm, key)):
            advice = "delete one of the two; `served_name` names the model that the address serves"
            yield Conflict((*here, key), f"`{key}`", "it only without `address`", advice, (address,))


def vllm_fits_its_hosts(grid: Grid) -> Iterator[Conflict]:
    """A model that spans hosts is split evenly over them, by an executor, and within the GPUs that they have."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None or vllm.address is not None:
        return
    workers, split = (*here, "workers"), (*here, "tensor_parallel")
    hosts = (vllm.head, *vllm.workers)
    if vllm.head in vllm.workers:
        yield Conflict(
            workers, shown(vllm.head), "hosts other than `head`", "delete it; the head works too", ((*here, "head"),)
        )
    if vllm.workers and vllm.executor == "none":
        advice = "write `executor: ray` or `executor: multi-node`"
        yield Conflict((*here, "executor"), "'none'", "what joins several hosts", advice, (workers,))
    if not vllm.workers and vllm.executor != "none":
        advice = "add `workers: […]`, or delete `executor`"
        yield Conflict((*here, "executor"), shown(vllm.executor), "`workers` beside it", advice, (workers,))
    if vllm.tensor_parallel % len(hosts):
        wanted = f"a multiple of {len(hosts)}, the number of hosts (head and workers)"
        yield Conflict(split, str(vllm.tensor_parallel), wanted, f"write `tensor_parallel: {len(hosts)}`", (workers,))
    gpus = sum(grid.hosts[name].gpus for name in dict.fromkeys(hosts) if name in grid.hosts)
    if 0 < gpus < vllm.tensor_parallel:
        advice = "lower it, add workers, or correct `gpus` of the hosts"
        counted = tuple(("hosts", name, "gpus") for name in hosts)
        yield Conflict(split, str(vllm.tensor_parallel), f"at most {gpus}, the GPUs of its hosts", advice, counted)


def vllm_arguments_are_its_own(grid: Grid) -> Iterator[Conflict]:
    """What has a key in the grid is not said a second time, and no secret stands in arguments or environment."""
    vllm, here = grid.services.vllm, ("services", "vllm")
    if vllm is None:
        return
    for position, argument in enumerate(vllm.extra_args):
        name = argument.partition("=")[0]
        if name in _OWN_ARGUMENTS:
            yield Conflict((*here, "extra_args", position), f"`{name}`", "other arguments", _OWN_ARGUMENTS[name])
    for variable, value in vllm.environment.items():
        if is_secret_name(variable) and not isinstance(value, SecretReference):
            advice = f"write `{variable}: env:{variable}` or `{variable}: file:PATH`"
            path: Path = (*here, "environment", variable)
            yield Conflict(path, "a value (not shown)", "a reference to a secret", advice)


def certificate_has_its_files(grid: Grid) -> Iterator[Conflict]:
    """A certificate of one's own is named with its key, and the grid's own authority needs neither."""
    tls, here = grid.gateway.tls, ("gateway", "tls")
    mode: Path = (*here, "mode")
    for key in ("certificate", "key"):
        if tls.mode == "files" and getattr(tls, key) is None:
            yield Conflict(
                mode, f"'files' without `{key}`", "both `certificate` and `key`", f"add `{key}: /PATH`", (here,)
            )
    for key in ("certificate", "key", "authority"):
        if tls.mode != "files" and getattr(tls, key) is not None:
            advice = f"write `mode: files`, or delete `{key}`"
            yield Conflict((*here, key), shown(str(getattr(tls, key))), "`mode: files` beside it", advice, (mode,))


def repositories_are_distinct(grid: Grid) -> Iterator[Conflict]:
    """No two backups go to the same folder."""
    seen: set[str] = set()
    for position, repository in enumerate(grid.backup.repositories if grid.backup is not None else ()):
        if str(repository.path) in seen:
            path: Path = ("backup", "repositories", position)
            yield Conflict(path, f"'{repository.path}' twice", "each folder once", "delete one of the two")
        seen.add(str(repository.path))


RULES: tuple[Callable[[Grid], Iterator[Conflict]], ...] = (
    something_is_served,
    hosts_are_known,
    ports_are_distinct,
    addresses_are_in_their_networks,
    tokens_end_before_their_key,
    service_tokens_live_a_day,
    tokens_can_be_shared,
    database_runs_once,
    memory_can_be_shared,
    memory_embeds_with_what_is_there,
    weights_are_of_its_hosts,
    rag_has_what_it_needs,
    generator_is_served,
    vllm_has_one_source,
    vllm_fits_its_hosts,
    vllm_arguments_are_its_own,
    certificate_has_its_files,
    repositories_are_distinct,
)
