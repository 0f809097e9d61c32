"""A real vLLM behind the gateway, as OpenAI's own client sees it."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from ragrid.system import owned
from ragrid.system.ports import listening_sockets
from support.running_grid import RunningGrid, eventually, grid_document, running_grid
from support.vllm_server import ENVIRONMENT, EXECUTABLE, EXTRA_ARGS, MODEL, require_vllm

pytestmark = pytest.mark.vllm

#: Enough tokens that a held-back stream would be seen: seconds of generation.
LONG = 900
#: vLLM's counter of generated tokens.
GENERATED = "vllm:generation_tokens_total"


@pytest.fixture(scope="module")
def vllm_grid() -> Iterator[RunningGrid]:
    require_vllm()
    vllm = {
        "model": str(MODEL),
        "served_name": "tiny",
        "executable": str(EXECUTABLE),
        "max_model_len": 1024,
        "extra_args": list(EXTRA_ARGS),
        "environment": dict(ENVIRONMENT),
        "limits": {"tokens_per_minute": 1_000_000_000},  # nobody is refused, and everything is counted
    }
    rag = {"embedder": {"kind": "hashing"}, "generator": {"kind": "vllm"}}
    document = grid_document(name="vllm", services={"vllm": vllm, "rag": rag})
    with running_grid(document) as running:
        yield running


def official_client(grid: RunningGrid, role: str = "reader") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{grid.address}/v1", api_key=grid.token(role), max_retries=0)


@pytest.fixture(autouse=True)
def authority(vllm_grid: RunningGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(vllm_grid.authority))


def running_requests(grid: RunningGrid) -> float:
    """Return how many requests vLLM itself is working on."""
    return own_figure(grid, "vllm:num_requests_running")


def own_figure(grid: RunningGrid, name: str) -> float:
    """Return a metric of vLLM's own, asked at its private port."""
    page = httpx.get(f"http://127.0.0.1:{grid.document['services']['vllm']['port']}/metrics", trust_env=False).text
    lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    assert lines, page[:500]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_the_official_client_lists_models_and_completes(vllm_grid: RunningGrid) -> None:
    client = official_client(vllm_grid)
    assert [model.id for model in client.models.list()] == ["tiny"]
    done = client.completions.create(model="tiny", prompt="The license", max_tokens=8, temperature=0)
    assert done.usage is not None
    assert done.usage.completion_tokens == 8
    chat = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "hello"}], max_tokens=8, temperature=0
    )
    assert chat.choices[0].message.role == "assistant"


def test_a_stream_arrives_token_by_token_while_the_model_still_generates(vllm_grid: RunningGrid) -> None:
    # Whoever held the stream back would never show a token early; a busy machine may wake the client late now and then.
    shares = []
    for _ in range(10):
        shares.append(_generated_when_the_first_token_came(vllm_grid))
        if shares[-1] < LONG / 2:
            break
    assert min(shares) < LONG / 2, f"of {LONG} tokens, {shares} were generated when the first one came"


def _generated_when_the_first_token_came(grid: RunningGrid) -> float:
    before = own_figure(grid, GENERATED)
    stream = official_client(grid).completions.create(
        model="tiny", prompt="The license", max_tokens=LONG, temperature=0, stream=True, extra_body={"ignore_eos": True}
    )
    events = iter(stream)
    next(events)
    # Its gauge of running requests may lag behind the first token; the counter grows with each.
    generated = own_figure(grid, GENERATED) - before
    assert sum(1 for _ in events) > LONG / 2
    return generated


def test_a_client_that_leaves_ends_the_generation(vllm_grid: RunningGrid) -> None:
    client = official_client(vllm_grid)
    stream = client.completions.create(
        model="tiny", prompt="The license", max_tokens=900, temperature=0, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    eventually(lambda: running_requests(vllm_grid) == 0, "vLLM stopped generating")


def test_without_a_token_401_with_a_wrong_role_403(vllm_grid: RunningGrid) -> None:
    with vllm_grid.client() as nobody, vllm_grid.client(vllm_grid.token("memory-service")) as other:
        body = {"model": "tiny", "prompt": "x", "max_tokens": 1}
        for client, status in ((nobody, 401), (other, 403)):
            answer = client.post("/v1/completions", json=body)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{vllm_grid.address}/v1", api_key="junk", max_retries=0).models.list()


@pytest.mark.parametrize(
    "path",
    ["/v1/nothing", "/invocations", "/pause", "/v1/load_lora_adapter", "/tokenize", "/metrics", "/health/../pause"],
)
def test_what_no_route_names_is_closed(vllm_grid: RunningGrid, path: str) -> None:
    with vllm_grid.client(vllm_grid.token("admin")) as client:
        answer = client.post(path, json={})
    assert answer.status_code in {400, 404, 405}
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_vllm_opens_beside_its_port_is_private_to_this_machine(vllm_grid: RunningGrid) -> None:
    ours = owned.parts_running(vllm_grid.state)
    sockets = [one for one in listening_sockets() if ours.get(one.pid or 0) == "vllm"]
    assert vllm_grid.document["services"]["vllm"]["port"] in {one.port for one in sockets}
    assert {one.host for one in sockets} == {"127.0.0.1"}


def test_what_the_gateway_adds_to_the_first_byte_is_measured(
    vllm_grid: RunningGrid, record_property: Callable[[str, object], None]
) -> None:
    found = vllm_grid.json("bench", "llm", "--pairs", "5")
    record_property("bench llm", str(found))
    assert found["pairs"] == 5
    assert found["first_byte_direct_ms"] > 0
    assert found["first_byte_gateway_ms"] > 0


def test_tokens_are_counted_as_vllm_reports_them(vllm_grid: RunningGrid) -> None:
    """The whole of it: asked for 8 tokens, streamed with and without usage, and not streamed."""

    def counted(how: str) -> int:
        page = httpx.get(f"http://127.0.0.1:{vllm_grid.document['gateway']['metrics_port']}/metrics", trust_env=False)
        sample = f'gateway_model_tokens_total{{service="vllm",counted="{how}"}} '
        return sum(int(line.removeprefix(sample)) for line in page.text.splitlines() if line.startswith(sample))

    client = official_client(vllm_grid)

    def ask(**options: Any) -> Any:
        extra = {"ignore_eos": True}
        return client.completions.create(
            model="tiny", prompt="The license", max_tokens=8, temperature=0, extra_body=extra, **options
        )

    before = counted("reported")
    usage = ask().usage
    assert usage is not None
    eventually(lambda: counted("reported") == before + usage.total_tokens, "an answer's usage is counted")
    last = list(ask(stream=True, stream_options={"include_usage": True}))[-1]
    assert last.usage.total_tokens == usage.total_tokens
    eventually(lambda: counted("reported") == before + 2 * usage.total_tokens, "a stream's usage is counted")
    estimated = counted("estimated")
    events = len(list(ask(stream=True)))
    eventually(lambda: counted("estimated") > estimated, "a stream without usage is estimated")
    assert counted("estimated") - estimated >= events
    assert counted("reported") == before + 2 * usage.total_tokens


def test_an_answer_is_generated_and_cited(vllm_grid: RunningGrid) -> None:
    vllm_grid.ok("ingest", "examples/documents")
    answer = vllm_grid.json("ask", "How do I stop the grid without losing data?")
    assert "tiny" in answer["generator"]
    assert answer["answer"]
    assert answer["citations"]


def test_without_the_model_the_best_passages_answer_and_say_so_and_it_comes_back(vllm_grid: RunningGrid) -> None:
    vllm_grid.ok("ingest", "examples/documents")
    before = vllm_grid.pids("vllm")
    assert len(before) > 2, "the engine and its worker are processes of the part, too"
    os.kill(min(before), signal.SIGKILL)  # the API server alone: its engine lives on without a parent
    answer = vllm_grid.json("ask", "How do I stop the grid without losing data?")
    assert answer["degraded"]
    assert "tiny" not in answer["generator"]
    assert answer["citations"]
    eventually(lambda: bool(vllm_grid.status()["healthy"]), "vLLM is back", limit_s=180.0)
    assert not before & vllm_grid.pids("vllm"), "something of the killed vLLM is still there"
    assert "tiny" in vllm_grid.json("ask", "How do I stop the grid without losing data?")["generator"]
