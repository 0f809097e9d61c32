"""Embeddings from any server that speaks OpenAI's API: vLLM with a pooling model, or another one."""

import base64
import binascii
from collections.abc import Sequence

import httpx
import msgspec
import numpy as np

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.embedder import FloatArray, normalise

#: Texts of one request: under the limit of 2048 inputs that OpenAI's API documents, small enough to be answered soon.
BATCH = 64


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class OpenAIEmbedder:
    """Calls `POST {address}/embeddings`; `client` carries the trust and the key, and is closed with this object."""

    is_semantic = True

    def __init__(self, client: httpx.AsyncClient, address: str, *, model: str) -> None:
        self.name = model
        self.dimension = 0
        self._client = client
        self._url = f"{address.rstrip('/')}/embeddings"

    async def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return one row per text; the first answer fixes the dimension."""
        parts = [await self._request(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    async def _request(self, texts: Sequence[str]) -> FloatArray:
        asked = {"model": self.name, "input": list(texts), "encoding_format": "base64"}
        try:
            response = await self._client.post(self._url, json=asked)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self._url}: {type(error).__name__}: {error}; start the embedder") from error
        if response.status_code != httpx.codes.OK:
            kind = UnreachableError if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else RagridError
            said = response.text[:300]
            raise kind(f"{self._url}: got {response.status_code}: {said}; wanted embeddings of {self.name!r}")
        rows = self._decode(response.content, len(texts))
        if self.dimension not in (0, rows.shape[1]):
            message = (
                f"{self._url}: got {rows.shape[1]} members, wanted {self.dimension}; the model was changed: restart"
            )
            raise RagridError(message)
        self.dimension = int(rows.shape[1])
        return normalise(rows)

    def _decode(self, content: bytes, wanted: int) -> FloatArray:
        try:
            items = sorted(msgspec.json.decode(content, type=_Answer).data, key=lambda item: item.index)
            rows = np.stack([_row(item.embedding) for item in items])
        except (msgspec.MsgspecError, ValueError, binascii.Error) as error:
            raise RagridError(f"{self._url}: {error}; wanted OpenAI's embeddings; check the address") from error
        if [item.index for item in items] != list(range(wanted)) or not np.isfinite(rows).all():
            raise RagridError(f"{self._url}: got {len(items)} embeddings, wanted {wanted} finite ones; check the model")
        return rows

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _row(embedding: str | list[float]) -> FloatArray:
    """Servers that do not know base64 answer with numbers."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, np.float32)
