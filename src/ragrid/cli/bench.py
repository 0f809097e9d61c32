"""`ragrid bench`."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.pretty import pprint

from ragrid.cli.context import json_option, secret_of, site_of_state, state_option
from ragrid.cli.talk import console, say, show
from ragrid.client import GridClient
from ragrid.drivers.local.site import Site
from ragrid.errors import SpecError, UnreachableError, UsageError
from ragrid.inference import hashing
from ragrid.inference.hashing import HashingEmbedder
from ragrid.system.clock import SystemClock
from ragrid.verify.bench_ask import RagTarget, bench_ask
from ragrid.verify.bench_edge import bench_edge
from ragrid.verify.bench_failover import bench_failover
from ragrid.verify.bench_llm import ModelTarget, bench_llm
from ragrid.verify.bench_memory import Effort, Place, bench_memory
from ragrid.verify.memory_seed import Target
from ragrid.verify.memory_texts import Model

#: How long one token is used, seconds; it is good for ten minutes.
TOKEN_KEPT_S = 240.0
#: Members of a vector, by kind of embedder: of all-MiniLM-L6-v2, and of hashed words.
DIMENSIONS = {"onnx": 384, "hashing": hashing.DIMENSION}
#: Pairs of streamed requests whose median is told.
LLM_PAIRS = 200


@click.group(epilog="\b\nExamples:\n  ragrid bench edge --json\n  ragrid bench memory --json | jq .through_gateway")
def command() -> None:
    """Measure a grid. Figures of one run belong together; a busy machine makes all of them smaller."""


@command.command(epilog="\b\nExamples:\n  ragrid bench edge\n  ragrid bench edge --rounds 9 --json")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Alternating rounds.")
@click.option("--seconds", default=2.0, show_default=True, type=click.FloatRange(0.5, 60.0), help="Of each run.")
@state_option
@json_option
def edge(rounds: int, seconds: float, state: Path | None, as_json: bool) -> None:
    """Hold the full edge against a plain nginx proxy, in turns, on ports of their own; no grid is needed.

    Where a grid with a language model runs, also tells what the gateway adds to the first byte of its streams.
    """
    with console.status(f"without TLS and with it: {rounds} rounds of {3 * seconds:g} s"):
        result = bench_edge(rounds=rounds, seconds_per_round=seconds)
    _report({**result, "llm": _first_byte_or_none(state)}, as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid bench failover\n  ragrid bench failover --rounds 1 --json")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Kills, and hangs.")
@click.option("--changes", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Of the endpoints.")
@json_option
def failover(rounds: int, changes: int, as_json: bool) -> None:
    """Change, kill and hang instances behind an edge under load, on ports of their own; no grid is needed."""
    with console.status(f"{changes} changes of endpoints, {rounds} kills, {rounds} hangs"):
        result = bench_failover(rounds=rounds, changes=changes)
    _report(result, as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid bench memory\n  ragrid bench memory --rounds 5 --json")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Alternating rounds.")
@click.option("--seconds", default=4, show_default=True, type=click.IntRange(1, 60), help="Of each run.")
@click.option("--memories", default=2000, show_default=True, type=click.IntRange(1, 5_000_000), help="To read from.")
@state_option
@json_option
def memory(rounds: int, seconds: int, memories: int, state: Path | None, as_json: bool) -> None:
    """Read and durably write 500-byte memories over 64 connections, and search: the service alone, and the gateway.

    With more than 10,000 memories, all is measured at 10,000, 100,000, … too, and `per_tenfold` is the slope.
    """
    site = site_of_state(state)
    service = site.grid.services.memory
    if service is None:
        raise SpecError([f"{site.layout.grid_file}: services.memory: got none, wanted one to measure"])
    if site.grid.gateway.mutual_tls:
        where = f"{site.layout.grid_file}: gateway.mutual_tls"
        raise SpecError(
            [f"{where}: got true, wanted false; the load generator has no certificate for the service alone"]
        )
    token = _FreshToken(site)
    place = Place(
        direct=Target(f"http://{site.address}:{service.port}", token),
        gateway=Target(site.grid.public_url, token),
        ca_file=site.gateway_authority,
    )
    model = _model_of_memories(site)
    result = bench_memory(place, Effort(rounds, seconds), memories=memories, model=model, tell=say)
    _report(msgspec.to_builtins(result), as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid bench ask\n  ragrid bench ask --chunks 2000 --questions 50 --json")
@click.option("--chunks", default=10_000, show_default=True, type=click.IntRange(100, 1_000_000), help="To search in.")
@click.option("--questions", default=200, show_default=True, type=click.IntRange(1, 10_000), help="To ask.")
@state_option
@json_option
def ask(chunks: int, questions: int, state: Path | None, as_json: bool) -> None:
    """Ingest generated text until there are enough chunks, then time retrieval through the gateway."""
    site = site_of_state(state)
    target = RagTarget(gateway_url=site.grid.public_url, token=lambda: _token(site), ca_file=site.gateway_authority)
    _report(bench_ask(target, chunks=chunks, questions=questions, say=say), as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid bench llm\n  ragrid bench llm --pairs 500 --json")
@click.option(
    "--pairs", default=LLM_PAIRS, show_default=True, type=click.IntRange(1, 10_000), help="Of streamed requests."
)
@state_option
@json_option
def llm(pairs: int, state: Path | None, as_json: bool) -> None:
    """Time the first byte of streamed completions, from the model directly and through the gateway, in turns."""
    _report(_first_byte(site_of_state(state), pairs), as_json=as_json)


def _first_byte(site: Site, pairs: int) -> dict[str, Any]:
    service = site.grid.services.vllm
    if service is None or service.served_model is None:
        raise SpecError([f"{site.layout.grid_file}: services.vllm: got no model with a name, wanted one to ask"])
    direct = ModelTarget(f"http://{site.grid.address_of(service.head)}:{service.port}")
    gateway = ModelTarget(site.grid.public_url, _token(site), site.gateway_authority)
    return bench_llm(direct, gateway, model=service.served_model, pairs=pairs)


def _first_byte_or_none(state: Path | None) -> dict[str, Any] | None:
    """Without a grid that was named, a model is measured where one runs, and None says that none does."""
    try:
        return _first_byte(site_of_state(state), LLM_PAIRS)
    except (SpecError, UnreachableError, UsageError) as error:
        if state is not None:
            raise
        say(f"no language model was measured: {error}")
        return None


def _token(site: Site) -> str:
    with GridClient(site.grid.public_url, ca_file=site.gateway_authority) as client:
        return client.token("writer", secret_of(site, "writer")).access_token


class _FreshToken:
    """A writer's token that is good for some minutes, whenever it is asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._clock = SystemClock()
        self._token = ""
        self._until_s = 0.0

    def __call__(self) -> str:
        if self._clock.monotonic_s() >= self._until_s:
            self._token = _token(self._site)
            self._until_s = self._clock.monotonic_s() + TOKEN_KEPT_S
        return self._token


def _model_of_memories(site: Site) -> Model | None:
    """Return the model whose vectors the benchmark can bring along; without one, searches are by words."""
    services = site.grid.services
    embedder = services.memory.embedder if services.memory is not None else None
    if embedder is None and services.rag is not None:
        embedder = services.rag.embedder
    if embedder is None or embedder.kind not in DIMENSIONS:
        return None
    name = HashingEmbedder.name if embedder.kind == "hashing" else embedder.model
    return Model(name, DIMENSIONS[embedder.kind])


def _report(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(result)
    else:
        pprint(result, expand_all=True)
