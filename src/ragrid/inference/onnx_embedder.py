"""all-MiniLM-L6-v2, or another sentence encoder with the same inputs, on this machine's processor."""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from ragrid.errors import MissingError
from ragrid.inference.embedder import FloatArray, normalise
from ragrid.inference.model_files import GRAPH_FILE, MODEL_NAME, TOKENIZER_FILE

#: The model was trained on sequences of up to 256 tokens; what comes after them is not seen.
MAX_TOKENS = 256
#: Tokens of one run, padding included. Measured on 2 shared cores: 512 to 768 tokens are as fast as one text a run,
#: 2048 and more are 20 to 50 % slower; and a question waits for at most one run of an ingest that is under way.
_RUN_TOKENS = 512


_sessions: WeakValueDictionary[Path, onnxruntime.InferenceSession] = WeakValueDictionary()
_loading = threading.Lock()


class OnnxEmbedder:
    """Mean-pooled, normalised sentence vectors; the work happens in `threads` threads of its own, never on the loop."""

    is_semantic = True

    def __init__(self, directory: Path, *, name: str = MODEL_NAME, threads: int = 1, niceness: int = 0) -> None:
        """Load the model (0.3 s), or share it with another embedder of this process that has loaded it.

        A `niceness` above 0 lets everything else have the processors first. Raises MissingError when a file is absent
        or is no model.
        """
        self.name = name
        self._tokenizer = _load_tokenizer(directory / TOKENIZER_FILE)
        self._session = _session(directory / GRAPH_FILE)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self.dimension = int(self._session.get_outputs()[0].shape[-1])
        self._threads = max(1, min(threads, os.cpu_count() or 1))
        self._executor = ThreadPoolExecutor(
            self._threads, thread_name_prefix="embed", initializer=be_nice, initargs=(niceness,)
        )

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return one row per text; each text counts up to its 256th token."""
        rows = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return rows
        loop = asyncio.get_running_loop()
        encodings = await loop.run_in_executor(self._executor, self._tokenizer.encode_batch, list(texts))
        # At most as many runs of one call are queued as there are threads: another caller's question gets its turn.
        turns = asyncio.Semaphore(self._threads)

        async def run(members: Sequence[int]) -> None:
            async with turns:
                batch = [encodings[member] for member in members]
                rows[list(members)] = await loop.run_in_executor(self._executor, self._forward, batch)

        lengths = [len(encoding.ids) for encoding in encodings]
        await asyncio.gather(*(run(members) for members in batches(lengths, _RUN_TOKENS)))
        return rows

    def _forward(self, batch: Sequence[Encoding]) -> FloatArray:
        longest = max(len(encoding.ids) for encoding in batch)
        identifiers = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros((len(batch), longest), np.int64)
        for row, encoding in enumerate(batch):
            identifiers[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        given = {"input_ids": identifiers, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        (hidden,) = self._session.run(None, {name: given[name] for name in self._inputs})
        weights = mask[:, :, np.newaxis].astype(np.float32)
        return normalise((hidden * weights).sum(axis=1) / weights.sum(axis=1))

    async def close(self) -> None:
        """End the threads once their current run is done."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)


def batches(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, ...]]:
    """Yield the positions of `lengths`, longest first, in groups whose padded size stays within `budget`.

    Texts of like length meet, so little is padding; one that is longer than the budget goes alone.
    """
    group: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda each: (-lengths[each], each)):
        if group and (len(group) + 1) * lengths[group[0]] > budget:
            yield tuple(group)
            group = []
        group.append(position)
    if group:
        yield tuple(group)


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise MissingError(f"{path}: {error}; wanted a tokenizer of {MODEL_NAME}; export the model again") from error
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def be_nice(niceness: int) -> None:
    """Lower the priority of this thread alone; Linux keeps one for each."""
    if niceness:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _session(path: Path) -> onnxruntime.InferenceSession:
    """Return the session of a model file, shared for as long as somebody holds it; one may run on many threads."""
    with _loading:
        known = _sessions.get(path)
        if known is None:
            known = _sessions[path] = _load_session(path)
        return known


def _load_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a different class for each fault
        raise MissingError(f"{path}: {error}; wanted a sentence encoder; export the model again") from error
