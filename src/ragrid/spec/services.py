"""What a grid serves: ChromaDB, memory, rag, vLLM. A service runs exactly when the file names it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ragrid.spec import kinds
from ragrid.spec.section import Section
from ragrid.spec.values import Duration

ServiceName = Literal["chromadb", "memory", "rag", "vllm"]
Balance = Literal["least_conn", "round_robin", "hash"]
_BALANCE = (
    "How the gateway chooses an instance: the one with the fewest requests, each in turn, or always the same one for a "
    "caller and its `X-Session-Id` (`hash`, which keeps a language model's cache of a session warm)."
)
_WEIGHTS = (
    "How much of the requests the instance on a host gets, against the others: `{sark: 2, clu: 1}` gives sark two "
    "thirds. A host that is not named has 1."
)
_SLOW_START = "How long an instance that joins others takes to get its full share; `1ms`: at once."


class Limits(Section):
    """What one caller (a token's subject; without a token, an address) may ask of the service; above it 429."""

    rate: kinds.RequestCount = Field(default=10_000, description="Requests a second, in the long run.")
    burst: kinds.RequestCount = Field(default=20_000, description="Requests that may come at once beyond the rate.")
    concurrent: kinds.RequestCount = Field(default=2_000, description="Requests at the same time.")


class ModelLimits(Limits):
    """What one caller may ask of a language model."""

    tokens_per_minute: kinds.TokenQuota | None = Field(
        default=None,
        description="Tokens that its prompts and answers may take in a minute, in the long run. Default: any number.",
    )


class Chromadb(Section):
    """ChromaDB, the vector store."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run it. Default: the first host."
    )
    port: kinds.Port = Field(default=8001, description="Private port.")
    balance: Balance = Field(default="least_conn", description=_BALANCE)
    weights: dict[kinds.HostName, kinds.Weight] = Field(default_factory=dict, description=_WEIGHTS)
    slow_start: kinds.Duration = Field(default=Duration.parse("10s"), description=_SLOW_START)
    limits: Limits = Field(default_factory=Limits, description="What one caller may ask of it.")


class Embedder(Section):
    """What turns text into vectors."""

    kind: Literal["onnx", "hashing", "openai"] = Field(
        default="onnx",
        description="`onnx`: a model on this machine's processor. `hashing`: words only, no meaning, needs nothing. "
        "`openai`: any OpenAI-compatible address.",
    )
    model: kinds.Line = Field(default="all-MiniLM-L6-v2", description="Name of the model.")
    directory: kinds.AbsolutePath | None = Field(
        default=None, description="`onnx`: folder with model.onnx and tokenizer.json. Default: found or made."
    )
    address: kinds.OpenAIAddress | None = Field(default=None, description="`openai`: base address, ends in `/v1`.")
    api_key: kinds.Secret | None = Field(default=None, description="`openai`: where its key lies.")


class Memory(Section):
    """The memory service: structured memories with versions and search."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run it. Default: the first host."
    )
    port: kinds.Port = Field(default=3000, description="Private port.")
    balance: Balance = Field(default="least_conn", description=_BALANCE)
    weights: dict[kinds.HostName, kinds.Weight] = Field(default_factory=dict, description=_WEIGHTS)
    slow_start: kinds.Duration = Field(default=Duration.parse("10s"), description=_SLOW_START)
    limits: Limits = Field(default_factory=Limits, description="What one caller may ask of it.")
    store: Literal["sqlite", "postgresql"] = Field(
        default="sqlite", description="`sqlite` for one host; `postgresql` is needed for several."
    )
    embedder: Embedder | None = Field(
        default=None,
        description="What turns memories into vectors. Default: rag's; without rag, memories are found by their words.",
    )
    next_embedder: Embedder | None = Field(
        default=None,
        description="A model to change over to: its vectors are made beside those in use, which it then replaces.",
    )
    backups: kinds.BackupCount = Field(
        default=3, description="How many of the backups that were asked for stay; with `store: sqlite`."
    )


class Generator(Section):
    """What turns passages into an answer."""

    kind: Literal["extractive", "openai", "vllm"] = Field(
        default="extractive",
        description="`extractive`: the best passages, quoted. `vllm`: the grid's own service. "
        "`openai`: any OpenAI-compatible address.",
    )
    model: kinds.Line | None = Field(
        default=None, description="Name of the model. Default with `vllm`: the name that it serves."
    )
    address: kinds.OpenAIAddress | None = Field(default=None, description="`openai`: base address, ends in `/v1`.")
    api_key: kinds.Secret | None = Field(default=None, description="`openai`: where its key lies.")
    timeout: kinds.Duration = Field(default=Duration.parse("2m"), description="Longest wait for an answer.")


class Rag(Section):
    """The retrieval service: ingests documents, answers questions with citations."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run it. Default: the first host."
    )
    port: kinds.Port = Field(default=3010, description="Private port.")
    balance: Balance = Field(default="least_conn", description=_BALANCE)
    weights: dict[kinds.HostName, kinds.Weight] = Field(default_factory=dict, description=_WEIGHTS)
    slow_start: kinds.Duration = Field(default=Duration.parse("10s"), description=_SLOW_START)
    limits: Limits = Field(default_factory=Limits, description="What one caller may ask of it.")
    embedder: Embedder = Field(default_factory=Embedder, description="What turns text into vectors.")
    generator: Generator = Field(default_factory=Generator, description="What turns passages into an answer.")
    chunk_words: kinds.WordCount = Field(default=120, description="Words in one passage.")
    chunk_overlap_words: kinds.WordOverlap = Field(
        default=20, description="Words that a passage shares with the one before."
    )


class Vllm(Section):
    """vLLM, the language model: run here (`model`), or reached at an `address`."""

    port: kinds.Port = Field(default=8000, description="Private port.")
    balance: Balance = Field(default="least_conn", description=_BALANCE)
    slow_start: kinds.Duration = Field(default=Duration.parse("10s"), description=_SLOW_START)
    limits: ModelLimits = Field(default_factory=ModelLimits, description="What one caller may ask of it.")
    model: kinds.Line | None = Field(default=None, description="Model to run: a name on a hub, or a folder.")
    served_name: kinds.Line | None = Field(
        default=None, description="Name that clients ask for. Default: what `model` says."
    )
    executable: kinds.Line = Field(default="vllm", description="The vllm command: a name on PATH, or a path.")
    max_model_len: kinds.TokenCount | None = Field(
        default=None, description="Longest prompt and answer together, in tokens. Default: the model's own."
    )
    tensor_parallel: kinds.Parallelism = Field(default=1, description="How many GPUs share the model.")
    head: kinds.HostName = Field(default="", description="Host that serves the API. Default: the first host.")
    workers: tuple[kinds.HostName, ...] = Field(default=(), description="More hosts that share the model.")
    executor: Literal["none", "ray", "multi-node"] = Field(
        default="none", description="How several hosts work together: through Ray, or vLLM's own way."
    )
    extra_args: tuple[kinds.Argument, ...] = Field(
        default=(), description="More arguments of `vllm serve`, one an item."
    )
    environment: dict[kinds.VariableName, kinds.EnvironmentValue] = Field(
        default_factory=dict, description="More environment of vLLM; secrets as `env:NAME` or `file:PATH`."
    )
    address: kinds.OpenAIAddress | None = Field(
        default=None, description="Instead of `model`: an OpenAI-compatible server that runs already; ends in `/v1`."
    )
    api_key: kinds.Secret | None = Field(default=None, description="With `address`: where its key lies.")

    @property
    def on(self) -> tuple[str, ...]:
        """The hosts that serve its API: the head alone."""
        return (self.head,)

    @property
    def served_model(self) -> str | None:
        """The name that clients ask for; None when only the server at `address` knows it."""
        return self.served_name or self.model


Service = Chromadb | Memory | Rag | Vllm


def _named_means_wanted(value: Any) -> Any:
    return {} if value is None else value


_Named = BeforeValidator(_named_means_wanted)


class Services(Section):
    """The services; one runs exactly when it is named, if only as `memory: {}`."""

    chromadb: Annotated[Chromadb | None, _Named] = Field(default=None, description="The vector store.")
    memory: Annotated[Memory | None, _Named] = Field(default=None, description="The memory service.")
    rag: Annotated[Rag | None, _Named] = Field(default=None, description="The retrieval service.")
    vllm: Annotated[Vllm | None, _Named] = Field(default=None, description="The language model.")

    def named(self) -> Iterator[tuple[ServiceName, Service]]:
        """Yield the services that the grid runs, by name, in alphabetical order."""
        every: tuple[tuple[ServiceName, Service | None], ...] = (
            ("chromadb", self.chromadb),
            ("memory", self.memory),
            ("rag", self.rag),
            ("vllm", self.vllm),
        )
        yield from ((name, service) for name, service in every if service is not None)
