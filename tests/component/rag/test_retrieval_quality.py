"""Recall over a manual that nobody here wrote, with questions whose answers are known."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ragrid.spec.settings import EmbedderSettings
from ragrid.system.process import run
from ragrid.verify.retrieval import Recall, load_questions, measure_recall
from support.rag_service import HASHING, Chroma, OpenRag, Rag

QUESTIONS = load_questions(Path(__file__).parents[2] / "data" / "debian_policy_questions.json").questions
K = 5


@pytest.fixture(scope="module")
def policy_pages() -> list[Path]:
    """The pages of Debian's policy manual: fetched as a package and unpacked, never installed; kept for next time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ragrid-tests" / "debian-policy"
    pages = cache / "usr/share/doc/debian-policy/policy.html"
    if not pages.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        run(("apt-get", "download", "debian-policy"), timeout_s=120, directory=cache)
        (package,) = cache.glob("debian-policy_*.deb")
        run(("dpkg-deb", "-x", str(package), str(cache)), timeout_s=60)
        package.unlink()
    return sorted(pages.glob("*.html"))


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
    policy_pages: list[Path],
    record_property: Callable[[str, object], None],
) -> None:
    figures: dict[str, float] = {}
    semantic = EmbedderSettings(kind="onnx", directory=model_directory, threads=2)
    for embedder, tenant in ((semantic, "policy-onnx"), (HASHING, "policy-hashing")):
        async with open_rag(chroma.url, embedder=embedder, tenant=tenant) as rag:
            for page in policy_pages:
                assert (await rag.put(page.name, page.read_bytes(), "text/html")).status_code == 201
            for mode in ("hybrid", "vector", "lexical"):
                recall = await _recall(rag, mode)
                figures[f"{embedder.kind} {mode}"] = recall.ratio
                print(embedder.kind, mode, recall)  # noqa: T201 - the figures are the report of this test
    for name, ratio in figures.items():
        record_property(f"recall@{K} {name}", round(ratio, 3))
    assert len(QUESTIONS) >= 20
    assert figures["onnx hybrid"] >= 0.8, figures
