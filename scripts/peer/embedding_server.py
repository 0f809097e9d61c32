"""An embedding server that speaks OpenAI's API over the hashing embedder: the same, fast one for both sides."""

import base64
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ragrid.inference.hashing import HashingEmbedder

_embedder = HashingEmbedder()


async def embeddings(request: Request) -> JSONResponse:
    """Answer `POST /v1/embeddings`, as numbers or in base64, whichever was asked for."""
    asked = await request.json()
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    rows = await _embedder.embed(texts)
    is_packed = asked.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode() if is_packed else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return JSONResponse({"object": "list", "model": asked["model"], "data": data, "usage": usage})


uvicorn.run(
    Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])]),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_level="warning",
)
