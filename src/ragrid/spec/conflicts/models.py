"""What embeds and generates: for memory and for rag."""

from collections.abc import Iterator, Mapping

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.faults import Path, shown, written
from ragrid.spec.models import Grid
from ragrid.spec.services import Embedder, Generator

#: Keys that another kind would silently ignore.
_OF_ONE_KIND = {"directory": "onnx", "address": "openai", "api_key": "openai"}
#: What kind `openai` cannot do without, and an example of each.
_EMBEDDER_NEEDS = {"address": "http://127.0.0.1:8000/v1"}
_GENERATOR_NEEDS = {**_EMBEDDER_NEEDS, "model": "NAME"}


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
    yield from _of_its_kind((*here, "embedder"), rag.embedder, _EMBEDDER_NEEDS)
    yield from _of_its_kind((*here, "generator"), rag.generator, _GENERATOR_NEEDS)


def memory_embeds_with_what_is_there(grid: Grid) -> Iterator[Conflict]:
    """The embedders that memory names have all they need, and nothing that their kind would silently ignore."""
    memory = grid.services.memory
    for part in ("embedder", "next_embedder"):
        embedder: Embedder | None = None if memory is None else getattr(memory, part)
        if embedder is not None:
            yield from _of_its_kind(("services", "memory", part), embedder, _EMBEDDER_NEEDS)


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


def _of_its_kind(here: Path, section: Embedder | Generator, needs: Mapping[str, str]) -> Iterator[Conflict]:
    """Yield the keys that the section's kind wants and lacks, and those that mean nothing with it."""
    kind: Path = (*here, "kind")
    for key, example in needs.items():
        if section.kind == "openai" and getattr(section, key) is None:
            yield Conflict(kind, shown("openai"), f"`{key}` beside it", f"add `{key}: {example}`", ((*here, key),))
    for key, only in _OF_ONE_KIND.items():
        if section.kind != only and getattr(section, key, None) is not None:
            advice = f"delete it, or choose another `{written(kind)}`"
            yield Conflict((*here, key), f"`{key}`", f"no such key with kind `{section.kind}`", advice, (kind,))
