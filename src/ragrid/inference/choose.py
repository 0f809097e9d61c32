"""From settings to the adapters that they name."""

from ragrid.errors import RagridError
from ragrid.inference.embedder import Embedder
from ragrid.inference.extractive import ExtractiveGenerator
from ragrid.inference.generator import Generator
from ragrid.inference.hashing import HashingEmbedder
from ragrid.inference.http import open_client
from ragrid.inference.model_files import find_model
from ragrid.inference.onnx_embedder import OnnxEmbedder
from ragrid.inference.openai_embedder import OpenAIEmbedder
from ragrid.inference.openai_generator import OpenAIGenerator
from ragrid.spec.settings import EmbedderSettings, GeneratorSettings

#: One request to an embedding server, seconds.
EMBED_TIMEOUT_S = 60.0


def open_embedder(settings: EmbedderSettings, *, niceness: int = 0) -> Embedder:
    """Return the embedder that `settings` name, loaded; a local model works with the priority that `niceness` gives.

    Raises MissingError when a model or key file is absent, RagridError when `openai` comes without an address.
    """
    match settings.kind:
        case "onnx":
            return OnnxEmbedder(
                find_model(settings.directory), name=settings.model, threads=settings.threads, niceness=niceness
            )
        case "hashing":
            return HashingEmbedder()
        case "openai":
            if settings.address is None:
                raise RagridError("embedder: address: got nothing, wanted a URL that ends in /v1; add it to the grid")
            client = open_client(
                ca_file=settings.ca_file, api_key_file=settings.api_key_file, timeout_s=EMBED_TIMEOUT_S
            )
            return OpenAIEmbedder(client, settings.address, model=settings.model)


def open_generator(settings: GeneratorSettings, embedder: Embedder) -> Generator:
    """Return the generator that `settings` name; `extractive` compares sentences with `embedder`.

    Raises MissingError when a key or CA file is absent, RagridError when `openai` comes without an address.
    """
    if settings.kind == "extractive":
        return ExtractiveGenerator(embedder)
    if settings.address is None:
        raise RagridError("generator: address: got nothing, wanted a URL that ends in /v1; add it to the grid")
    client = open_client(ca_file=settings.ca_file, api_key_file=settings.api_key_file, timeout_s=settings.timeout_s)
    has_key = settings.api_key_file is not None
    return OpenAIGenerator(client, settings.address, model=settings.model, own_key=has_key)
