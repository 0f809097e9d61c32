"""Times searches of a memory service as one caller sees them: a question, its answer, the next."""

import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec

from ragrid.errors import RagridError, UnreachableError
from ragrid.inference.http import trust
from ragrid.verify.memory_seed import PATH, Seed, Target

#: How long a service that has just been started may take until it embeds questions, seconds.
_START_S = 60.0
_PAUSE_S = 0.5
#: The first question among a million memories reads their vectors from the disk.
_TIMEOUT_S = 120.0


class _Answer(msgspec.Struct, frozen=True):
    results: tuple[msgspec.Raw, ...]
    mode_used: str
    degraded: tuple[str, ...]


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def ask(target: Target, seed: Seed, questions: Sequence[str], *, ca_file: Path | None) -> list[float]:
    """Return how long each question took, seconds, embedding and network included; sorted.

    With a model, memories are sought by words and by meaning, else by words. Raises UnreachableError when the service
    does not answer, RagridError when an answer is refused, empty, or lacks a half.
    """
    mode = "lexical" if seed.model is None else "hybrid"
    headers = {
        "authorization": f"Bearer {target.token()}",
        "memory-namespace": seed.namespace,
        "content-type": "application/json",
    }
    took_s: list[float] = []
    with httpx.Client(
        base_url=target.url, headers=headers, verify=trust(ca_file), timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        started_s = time.monotonic()
        while _post(client, questions[0], mode)[1].mode_used != mode and time.monotonic() - started_s < _START_S:
            time.sleep(_PAUSE_S)
        for question in questions:
            took_one_s, found = _post(client, question, mode)
            if found.mode_used != mode or not found.results:
                what = f"by {found.mode_used}, with {len(found.results)} results, without {found.degraded}"
                raise RagridError(f"{target.url}: a search was answered {what}; wanted {mode}, and some results")
            took_s.append(took_one_s)
    return sorted(took_s)


def _post(client: httpx.Client, question: str, mode: str) -> tuple[float, _Answer]:
    body = _encode({"query": question, "mode": mode})
    started_s = time.perf_counter()
    try:
        answer = client.post(f"{PATH}/search", content=body)
    except httpx.HTTPError as error:
        raise UnreachableError(f"{client.base_url}: {error!r}; run `ragrid status`") from error
    took_s = time.perf_counter() - started_s
    if not answer.is_success:
        raise RagridError(f"{client.base_url}: a search was refused with {answer.status_code}: {answer.text[:300]}")
    return took_s, _decode(answer.content)
