"""The real vLLM, started by our own command line: what the gateway, the agent and Prometheus rely on."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from support.vllm_server import run_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(360)]


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a vLLM of this module's own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with run_vllm(port=port, log=log) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client
    left = [one for one in psutil.process_iter(["cmdline"]) if str(port) in (one.info["cmdline"] or [])]
    assert not left


def test_it_is_healthy_and_names_its_model(vllm: httpx.Client) -> None:
    assert vllm.get("/health").status_code == 200
    (model,) = vllm.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 1024)


def test_one_token_is_completed(vllm: httpx.Client) -> None:
    question = {"model": "tiny", "prompt": "The license", "max_tokens": 1}
    answer = vllm.post("/v1/completions", json=question).raise_for_status().json()
    assert answer["usage"]["completion_tokens"] == 1


def test_the_same_seed_gives_the_same_words(vllm: httpx.Client) -> None:
    question = {"model": "tiny", "prompt": "You may copy", "max_tokens": 12, "temperature": 0}
    first, second = (vllm.post("/v1/completions", json=question).json()["choices"][0]["text"] for _ in range(2))
    assert first == second != ""


def test_a_chat_is_streamed_token_by_token(vllm: httpx.Client) -> None:
    question = {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What may I copy?"}],
        "max_tokens": 256,
        "ignore_eos": True,
        "stream": True,
    }
    with vllm.stream("POST", "/v1/chat/completions", json=question) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    pieces = [choice["delta"].get("content") for event in events[:-1] for choice in json.loads(event)["choices"]]
    # Far more than one, far fewer than 256: on busy cores vLLM sends the tokens that have piled up in one piece.
    assert len([piece for piece in pieces if piece]) >= 8
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"


def test_an_unknown_model_and_a_long_prompt_are_refused(vllm: httpx.Client) -> None:
    unknown = vllm.post("/v1/completions", json={"model": "other", "prompt": "x"})
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "NotFoundError")
    too_long = vllm.post("/v1/completions", json={"model": "tiny", "prompt": "license " * 2000, "max_tokens": 1})
    assert too_long.status_code == 400


def test_an_idle_connection_outlives_the_gateways_pool(vllm: httpx.Client) -> None:
    """The gateway keeps one for 4 s; vLLM by itself closes it after 5, which is too near."""
    connection = http.client.HTTPConnection("127.0.0.1", vllm.base_url.port or 0, timeout=10)
    with contextlib.closing(connection):
        for pause_s in (0.0, 7.0):
            time.sleep(pause_s)
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b""


def test_prometheus_finds_what_the_dashboards_show(vllm: httpx.Client) -> None:
    vllm.post("/v1/completions", json={"model": "tiny", "prompt": "count me", "max_tokens": 2}).raise_for_status()
    text = vllm.get("/metrics").text
    for family in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:time_to_first_token_seconds",
        "vllm:generation_tokens_total",
    ):
        assert f"\n{family}" in text, family
