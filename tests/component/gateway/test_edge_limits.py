"""What one caller may ask of one service, and in which words more is refused."""

import concurrent.futures
import signal
from typing import Any

import httpx

from ragrid.gateway.config import EdgeService, Limits

READ = "/memory/v1/memories/1"
CHAT = "/v1/chat/completions"
SERVICES = (
    EdgeService(name="memory", limits=Limits(requests_per_s=1, burst=4, concurrent=100)),
    EdgeService(name="rag"),
    EdgeService(name="vllm", limits=Limits(concurrent=2)),
)


def _statuses(edge: Any, path: str, number: int, **claims: Any) -> list[int]:
    bearer = edge.signer.bearer(**claims)
    with httpx.Client(base_url=edge.url, headers=bearer) as client:
        return [client.get(path).status_code for _ in range(number)]


def _limited(edges: Any, backends: Any, endpoint: Any) -> Any:
    edge, backend = edges(services=SERVICES), backends()
    edge.backend = backend
    edge.push({one.name: [endpoint(backend.port)] for one in SERVICES})
    return edge


def test_a_rate_is_one_callers_at_one_service(edges: Any, backends: Any, endpoint: Any) -> None:
    edge = _limited(edges, backends, endpoint)
    asked = _statuses(edge, READ, 20)
    assert asked[:5] == [200] * 5  # one, and four at once beyond the rate
    assert asked.count(200) < 12
    assert asked.count(200) + asked.count(429) == 20
    assert _statuses(edge, "/rag/v1/documents", 20) == [200] * 20  # another service
    assert _statuses(edge, READ, 5, sub="grace") == [200] * 5  # another caller
    assert _statuses(edge, READ, 5, sub="ada", jti="another")[-1] == 429  # another token of the same caller


def test_the_refusal_says_when_and_which_limit(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    """The fields of draft-ietf-httpapi-ratelimit-headers, beside Retry-After (RFC 9110)."""
    edge = _limited(edges, backends, endpoint)
    _statuses(edge, READ, 10)
    refused = httpx.get(edge.url + READ, headers=edge.signer.bearer())
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"rate";q=1;w=1, "concurrent";q=100;qu="concurrent-requests"'
    assert refused.headers["ratelimit"] == '"rate";r=0;t=1'
    good = httpx.get(edge.url + READ, headers=edge.signer.bearer(sub="grace"))
    assert (good.status_code, good.headers["ratelimit-policy"]) == (200, refused.headers["ratelimit-policy"])
    assert good.headers["x-request-id"]
    wait_until(lambda: 'gateway_refused_total{service="memory",reason="429"}' in edge.metrics(), "it is counted")


def test_requests_at_the_same_time_are_limited(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    edge = _limited(edges, backends, endpoint)
    bearer = edge.signer.bearer()

    def ask() -> httpx.Response:
        return httpx.post(edge.url + CHAT, headers=bearer, timeout=20)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ask) for _ in range(2)]
        wait_until(lambda: len(edge.backend.seen()) == 2, "two streams run")
        refused = ask()
        edge.backend.go_on.set()
        assert [one.result().status_code for one in running] == [200, 200]
    assert (refused.status_code, refused.headers["ratelimit"]) == (429, '"concurrent";r=0')
    wait_until(lambda: ask().status_code == 200, "a place is free again")


def test_what_was_asked_is_not_forgotten_over_a_reload(
    edges: Any, backends: Any, endpoint: Any, wait_until: Any
) -> None:
    edge = _limited(edges, backends, endpoint)
    _statuses(edge, READ, 8)

    def loaded() -> str:
        return str(next(line for line in edge.metrics().splitlines() if line.startswith("gateway_config_loaded")))

    before = loaded()
    edge.process.send_signal(signal.SIGHUP)
    wait_until(lambda: loaded() != before, "the new workers answer")
    assert 429 in _statuses(edge, READ, 3)
