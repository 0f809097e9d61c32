"""Tokens of a language model: what a caller may take in a minute, counted from what passes through the edge."""

import concurrent.futures
import json
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import EdgeService, Limits
from support.http_server import GridServer, Reply

CHAT = "/v1/chat/completions"
QUOTA = 1000
#: So much more than the quota that no slow machine lives to see the bucket fill up again.
FAR_TOO_MANY = 60_000
STREAM = "text/event-stream"


@pytest.fixture
def model() -> Iterator[GridServer]:
    """A language model that answers what the test says."""
    server = GridServer()
    server.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers that leave are wanted here
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.fixture
def edge(edges: Any, model: GridServer, endpoint: Any) -> Any:
    limits = Limits(tokens_per_minute=QUOTA)
    one = edges(services=(EdgeService(name="memory"), EdgeService(name="vllm", limits=limits)))
    one.push({name: [endpoint(model.server.server_address[1])] for name in ("memory", "vllm")})
    return one


def answered(total: int, text: str = "hello") -> bytes:
    """An answer that is not streamed."""
    usage = {"prompt_tokens": 1, "total_tokens": total, "completion_tokens": total - 1, "prompt_tokens_details": None}
    answer = {"id": "1", "choices": [{"message": {"content": text}}], "usage": usage, "prompt_logprobs": None}
    return json.dumps(answer, separators=(",", ":")).encode()


def event(**members: Any) -> bytes:
    return b"data: " + json.dumps(members, separators=(",", ":")).encode() + b"\n\n"


def ask(edge: Any, content: bytes = b"", **claims: Any) -> httpx.Response:
    return httpx.post(edge.url + CHAT, headers=edge.signer.bearer(**claims), content=content, timeout=20)


def counted(edge: Any) -> dict[str, int]:
    """How many tokens were charged, by how they were counted."""
    found = re.findall(r'gateway_model_tokens_total\{service="vllm",counted="(\w+)"\} (\d+)', edge.metrics())
    return {how: int(number) for how, number in found}


def test_more_tokens_than_the_quota_are_429_until_the_bucket_fills_again(edge: Any, model: GridServer) -> None:
    model.answer(answered(100))
    first, second = ask(edge), ask(edge)
    assert first.headers["ratelimit"] == f'"tokens";r={QUOTA};t=0'
    left = re.fullmatch(r'"tokens";r=(\d+);t=(\d+)', second.headers["ratelimit"])
    assert left is not None
    assert QUOTA - 100 <= int(left[1]) <= QUOTA
    assert int(left[2]) <= 6  # seconds until it is full: 100 of 1,000 a minute
    assert f'"tokens";q={QUOTA};w=60;qu="tokens"' in second.headers["ratelimit-policy"]
    assert second.headers["x-request-id"]
    model.answer(answered(FAR_TOO_MANY))
    assert ask(edge).status_code == 200  # it had something left, and nobody knew what the answer would take
    before = len(model.seen)
    refused = ask(edge)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
    wait_s = int(refused.headers["retry-after"])
    assert 60 <= wait_s <= (FAR_TOO_MANY + 200 - QUOTA) * 60 / QUOTA
    assert refused.headers["ratelimit"] == f'"tokens";r=0;t={wait_s}'
    assert refused.headers["ratelimit-policy"] == second.headers["ratelimit-policy"]
    assert [one.path for one in model.seen[before:] if one.path == CHAT] == []


def test_the_quota_is_one_callers_at_the_model(edge: Any, model: GridServer) -> None:
    model.answer(answered(FAR_TOO_MANY))
    assert [ask(edge).status_code for _ in range(2)] == [200, 429]
    assert ask(edge, jti="another").status_code == 429  # another token of the same caller
    assert ask(edge, sub="grace").status_code == 200
    bearer = edge.signer.bearer()
    for path in ("/v1/models", "/memory/v1/memories/1"):
        assert httpx.get(edge.url + path, headers=bearer).status_code == 200
    assert "ratelimit" not in httpx.get(edge.url + "/memory/v1/memories/1", headers=bearer).headers


def test_it_is_not_forgotten_over_a_reload(edge: Any, model: GridServer, wait_until: Any) -> None:
    def loaded() -> str:
        return str(next(line for line in edge.metrics().splitlines() if line.startswith("gateway_config_loaded")))

    model.answer(answered(FAR_TOO_MANY))
    assert ask(edge).status_code == 200
    before = loaded()
    edge.process.send_signal(signal.SIGHUP)
    wait_until(lambda: loaded() != before, "the new workers answer")
    assert ask(edge).status_code == 429


TOLD = event(choices=[], usage={"prompt_tokens": 5, "total_tokens": 17, "completion_tokens": 12})
PIECES = [
    event(choices=[{"delta": {"content": word}}]) for word in ("one", "two", 'a quote: "usage":{"total_tokens":900}')
]
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_the_usage_of_a_stream_is_found_in_whatever_pieces_it_comes(
    edge: Any, model: GridServer, wait_until: Any, size: int
) -> None:
    """What the model writes is no usage, even when it looks like one."""
    whole = b"".join((*PIECES, TOLD, DONE))
    model.answer(*(whole[at : at + size] for at in range(0, len(whole), size)), content_type=STREAM)
    assert ask(edge, b'{"stream":true}').content == whole
    wait_until(lambda: counted(edge) == {"reported": 17}, "the model's own figure is charged")


def test_a_stream_that_says_nothing_is_estimated(edge: Any, model: GridServer, wait_until: Any) -> None:
    """One for each event, and one for each four bytes of the request."""
    model.answer(b"".join((*PIECES, DONE)), content_type=STREAM)
    assert ask(edge, b"x" * 40).status_code == 200
    wait_until(lambda: counted(edge) == {"estimated": 4 + 10}, "it is estimated")


def test_the_largest_report_of_an_answer_counts(edge: Any, model: GridServer, wait_until: Any) -> None:
    """A caller may have its own words repeated as JSON; it cannot make an answer cheaper with them."""
    echo = {"usage": {"total_tokens": 1}}
    model.answer(json.dumps({"tools": [echo], "usage": {"total_tokens": 50}, "metadata": echo}).encode())
    assert ask(edge).status_code == 200
    wait_until(lambda: counted(edge) == {"reported": 50}, "the true one is charged")


def test_a_caller_that_leaves_pays_for_what_came(edge: Any, model: GridServer, wait_until: Any) -> None:
    """And nothing holds a stream back: the second event is made when the first has been read."""
    gate = threading.Event()
    model.gates.append(gate)
    model.answer(PIECES[0], b"".join(PIECES), TOLD, DONE, content_type=STREAM)
    with httpx.stream("POST", edge.url + CHAT, headers=edge.signer.bearer(), content=b"x" * 8, timeout=20) as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    wait_until(lambda: counted(edge) == {"estimated": 1 + 2}, "what had come is charged")
    gate.set()


def test_a_long_stream_is_charged_while_it_runs(edge: Any, model: GridServer, wait_until: Any) -> None:
    gate = threading.Event()
    model.gates.append(gate)
    many = event(choices=[{"delta": {"content": "x"}}]) * (FAR_TOO_MANY // 4)
    model.answer(many, DONE, content_type=STREAM)
    stream = httpx.stream("POST", edge.url + CHAT, headers=edge.signer.bearer(), timeout=20)
    with stream as answer:
        read = 0
        for piece in answer.iter_bytes():
            read += len(piece)
            if read == len(many):
                break
        wait_until(lambda: ask(edge, sub="ada").status_code == 429, "the next request has to wait")
        gate.set()


def test_what_the_model_refuses_costs_nothing(edge: Any, model: GridServer, wait_until: Any) -> None:
    model.reply = lambda seen: Reply(status=400 if seen.method == "POST" else 200)
    for _ in range(3):
        assert ask(edge, b"x" * 4 * FAR_TOO_MANY).status_code == 400
    wait_until(lambda: counted(edge).get("reported") == 0, "they are counted as nothing")
    assert ask(edge).headers.get("ratelimit") is None  # an error's answer says nothing of it
    model.answer(answered(1))
    assert ask(edge).headers["ratelimit"] == f'"tokens";r={QUOTA};t=0'


def test_nobody_may_encode_what_must_be_read(edge: Any, model: GridServer) -> None:
    model.answer(answered(1))
    httpx.post(edge.url + CHAT, headers={**edge.signer.bearer(), "Accept-Encoding": "gzip"})
    [asked] = [one for one in model.seen if one.path == CHAT]
    assert "accept-encoding" not in asked.headers


def test_workers_that_charge_at_once_forget_nothing(edge: Any, model: GridServer, wait_until: Any) -> None:
    """Twenty answers end together; what they took is all owed, whichever worker counted it."""
    number, each = 20, FAR_TOO_MANY // 20
    gate = threading.Event()
    model.gates.append(gate)
    content = answered(each)
    model.answer(content[:5], content[5:])
    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        running = [pool.submit(ask, edge) for _ in range(number)]
        wait_until(lambda: len([one for one in model.seen if one.path == CHAT]) == number, "all are on their way")
        gate.set()
        assert {one.result().status_code for one in running} == {200}
    wait_s = int(ask(edge).headers["retry-after"])
    one_answer_s = each * 60 / QUOTA
    assert wait_s > (FAR_TOO_MANY - QUOTA) * 60 / QUOTA - one_answer_s
