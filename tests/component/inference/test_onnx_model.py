"""The real model: exported from its weights, run by onnxruntime, compared with what is known of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from ragrid.inference.model_files import GRAPH_FILE, ensure_model, export_model
from ragrid.inference.onnx_embedder import OnnxEmbedder


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(tmp_path_factory.mktemp("model"))


@pytest_asyncio.fixture
async def embedder(model_directory: Path) -> AsyncIterator[OnnxEmbedder]:
    opened = OnnxEmbedder(model_directory)
    yield opened
    await opened.close()


async def test_similarities_are_those_of_the_published_model(embedder: OnnxEmbedder) -> None:
    question, close, far = await embedder.embed(
        ["How do I restart a container?", "Docker restarts failed containers automatically.", "The cat sat on the mat."]
    )
    assert question @ close == pytest.approx(0.656, abs=0.005)
    assert question @ far == pytest.approx(0.078, abs=0.005)
    assert np.linalg.norm(question) == pytest.approx(1, abs=1e-5)


async def test_company_and_padding_change_nothing(embedder: OnnxEmbedder) -> None:
    texts = ["short", "a text of middling length, say", "word " * 60, "", "long " * 400]
    together = await embedder.embed(texts)
    alone = np.concatenate([await embedder.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


async def test_text_after_the_256th_token_is_not_seen(embedder: OnnxEmbedder) -> None:
    plain, longer = await embedder.embed(["word " * 254, "word " * 254 + "container " * 50])
    assert np.abs(plain - longer).max() < 1e-5


async def test_many_callers_at_once_get_their_own_rows(model_directory: Path) -> None:
    embedder = OnnxEmbedder(model_directory, threads=2)
    texts = [f"question number {number}" for number in range(12)]
    wanted = await embedder.embed(texts)
    got = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    assert np.abs(np.concatenate(got) - wanted).max() < 1e-5
    await embedder.close()


def test_the_export_is_the_same_each_time_and_leaves_a_complete_directory_alone(
    model_directory: Path, tmp_path: Path
) -> None:
    assert (export_model(tmp_path) / GRAPH_FILE).read_bytes() == (model_directory / GRAPH_FILE).read_bytes()
    before = (tmp_path / GRAPH_FILE).stat()
    assert ensure_model(tmp_path) == tmp_path
    assert (tmp_path / GRAPH_FILE).stat() == before
