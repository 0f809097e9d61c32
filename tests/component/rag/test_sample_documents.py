"""What a newcomer sees first: the sample documents answer the first question of the example grid."""

from pathlib import Path

import yaml

from ragrid.spec.settings import EmbedderSettings
from support.rag_service import Chroma, OpenRag

EXAMPLES = Path(__file__).parents[3] / "examples"


async def test_the_first_question_is_answered_from_the_right_document(
    chroma: Chroma, open_rag: OpenRag, model_directory: Path
) -> None:
    question = yaml.safe_load((EXAMPLES / "local.yaml").read_text())["welcome"]["question"]
    kinds = {".md": "text/markdown", ".html": "text/html", ".txt": "text/plain"}
    async with open_rag(chroma.url, embedder=EmbedderSettings(kind="onnx", directory=model_directory)) as rag:
        for path in sorted((EXAMPLES / "documents").iterdir()):
            assert (await rag.put(path.name, path.read_bytes(), kinds[path.suffix])).status_code == 201
        answer = await rag.ask(question, k=3)
        first = answer["citations"][answer["cited"][0] - 1]
        assert first["document"] == "starting-and-stopping.md"
        assert "`ragrid down`" not in answer["answer"]
        assert "run ragrid down" in answer["answer"]
