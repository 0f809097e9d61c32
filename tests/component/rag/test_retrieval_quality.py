"""Recall over a manual that nobody here wrote, with questions whose answers are known."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ragrid.spec.settings import EmbedderSettings
from ragrid.verify.retrieval import Recall, measure_recall
from support.policy_manual import policy_pages, policy_questions
from support.rag_service import HASHING, Chroma, OpenRag, Rag

QUESTIONS = policy_questions().questions
K = 5


async def _recall(rag: Rag, mode: str) -> Recall:
    async def search(question: str) -> Sequence[str]:
        found = await rag.ask(question, path="search", k=K, mode=mode)
        assert found["degraded"] == []
        return [citation["document"] for citation in found["citations"]]

    return await measure_recall(search, QUESTIONS, k=K)


async def test_the_right_chapter_is_found(
    chroma: Chroma,
    open_rag: OpenRag,
    model_directory: Path,
    record_property: Callable[[str, object], None],
) -> None:
    figures: dict[str, float] = {}
    semantic = EmbedderSettings(kind="onnx", directory=model_directory, threads=2)
    for embedder, tenant in ((semantic, "policy-onnx"), (HASHING, "policy-hashing")):
        async with open_rag(chroma.url, embedder=embedder, tenant=tenant) as rag:
            for page in policy_pages():
                assert (await rag.put(page.name, page.read_bytes(), "text/html")).status_code == 201
            for mode in ("hybrid", "vector", "lexical"):
                recall = await _recall(rag, mode)
                figures[f"{embedder.kind} {mode}"] = recall.ratio
                print(embedder.kind, mode, recall)  # noqa: T201 - the figures are the report of this test
    for name, ratio in figures.items():
        record_property(f"recall@{K} {name}", round(ratio, 3))
    assert len(QUESTIONS) >= 20
    assert figures["onnx hybrid"] >= 0.8, figures
