"""Where requests go: endpoints by push, balancing, failover, hung instances, streams, restarts, the admin socket."""

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ragrid.gateway.config import EdgeService, Limits
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.routes import POLICY
from ragrid.gateway.state import ServiceState, dump_state
from ragrid.system.process import run
from support import after_kill
from support.edge_load import Load

READ = "/memory/v1/collections/c/records/1"


def test_endpoints_change_without_a_lost_request(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    edge = edges()
    both = [backends("a"), backends("b")]
    edge.push({"memory": [endpoint(both[0].port)]})
    with Load(edge, "POST", "/memory/v1/collections/c/records") as load:
        for change in range(12):
            before = load.done()
            edge.push({"memory": [endpoint(both[change % 2].port)]})
            wait_until(lambda before=before: load.done() > before + 20, "load goes on")
    assert not load.errors
    assert set(load.statuses) == {200}
    assert load.done() > 200, "too little load to show anything"
    assert all(len(one.seen()) > 20 for one in both)


@pytest.mark.parametrize("balance", ["least_conn", "round_robin"])
def test_requests_are_spread(edges: Any, backends: Any, endpoint: Any, balance: Any) -> None:
    edge = edges(services=(EdgeService(name="memory", balance=balance),))
    three = [backends(name) for name in "abc"]
    edge.push({"memory": [endpoint(one.port, weight=2 if one.name == "a" else 1) for one in three]})
    with httpx.Client(base_url=edge.url, headers=edge.signer.bearer()) as client:
        for _ in range(60):
            assert client.get(READ).status_code == 200
    got = {one.name: len(one.seen()) for one in three}
    assert min(got.values()) >= 10, got
    if balance == "round_robin":
        assert got["a"] >= 25, got  # weight 2 of 4, each worker counting for itself


def test_least_connections_avoid_the_busy_one(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    edge = edges(services=(EdgeService(name="vllm"),))
    two = [backends("a"), backends("b")]
    edge.push({"vllm": [endpoint(one.port) for one in two]})
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        streams = [
            pool.submit(httpx.post, edge.url + "/v1/chat/completions", headers=edge.signer.bearer(), timeout=20)
            for _ in range(4)
        ]
        try:
            wait_until(lambda: sum(len(one.seen()) for one in two) == 4, "four streams have begun")
            busy = {one.name: len(one.seen()) for one in two}
            # two workers, each of which knows what the other one has open
            assert set(busy.values()) <= {1, 2, 3}, busy
        finally:
            for one in two:
                one.go_on.set()
        assert all(stream.result().status_code == 200 for stream in streams)


def test_a_draining_instance_gets_nothing_new(edges: Any, backends: Any, endpoint: Any) -> None:
    edge = edges()
    stays, drains = backends("stays"), backends("drains")
    edge.push({"memory": [endpoint(stays.port), endpoint(drains.port, draining=True)]})
    for _ in range(20):
        assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).json()["backend"] == "stays"
    assert not drains.seen()
    edge.push({"memory": [endpoint(drains.port, draining=True)]})
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200


def test_dead_instances_and_empty_pools_are_problems(edges: Any, ports: Any, endpoint: Any) -> None:
    edge = edges()
    bearer = edge.signer.bearer()
    edge.push({"memory": [endpoint(ports(1)[0])]})
    answer = httpx.get(edge.url + READ, headers=bearer)
    assert (answer.status_code, answer.json()["code"]) == (502, "bad-gateway")
    assert answer.headers["content-type"] == "application/problem+json"
    answer = httpx.get(edge.url + "/v1/models", headers=bearer)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_before_any_state_it_is_503(edges: Any) -> None:
    edge = edges()
    answer = httpx.get(edge.url + READ, headers=edge.signer.bearer())
    assert (answer.status_code, answer.json()["code"]) == (503, "no-state")
    assert httpx.get(edge.metrics_url + "/readyz").status_code == 503
    assert httpx.get(edge.url + "/health").status_code == 200


def test_ready_means_that_the_timers_run_too(
    edges: Any, endpoint: Any, short_directory: Path, ports: Any, wait_until: Any
) -> None:
    lua = short_directory / "lua"
    shutil.copytree(LUA_DIRECTORY, lua)
    edge = edges(lua_directory=lua)
    edge.push({"memory": [endpoint(ports(1)[0])]})
    wait_until(lambda: httpx.get(edge.metrics_url + "/readyz").status_code == 200, "ready")
    edge.stop()
    source = (lua / "health.lua").read_text()
    (lua / "health.lua").write_text(
        source.replace("local function tick(", "local function tick() end\nlocal function unused(")
    )
    edge.start()
    edge.push({"memory": [endpoint(ports(1)[0])]})
    wait_until(lambda: "worker" not in httpx.get(edge.metrics_url + "/readyz").text, "the other timers run")
    answer = httpx.get(edge.metrics_url + "/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "a timer does not run: health checks")
    assert "gateway_timers_running 0" in edge.metrics()


def test_administration_closes_when_the_state_is_too_old(
    edges: Any, backends: Any, endpoint: Any, wait_until: Any
) -> None:
    """Whose rights were withdrawn since is unknown; what readers and writers do goes on."""
    edge = edges(state_age_limit_s=0.5)
    state = edge.state({name: [endpoint(backends(name).port)] for name in ("memory", "tokens")})
    bearer = edge.signer.bearer()

    def administer() -> httpx.Response:
        return httpx.get(edge.url + "/tokens/v1/clients", headers=bearer)

    assert edge.put(dump_state(state)).status_code == 200
    wait_until(lambda: administer().status_code == 503, "it closes")
    assert administer().json()["code"] == "stale-state"
    assert httpx.get(edge.url + READ, headers=bearer).status_code == 200
    assert "gateway_admin_closed 1" in edge.metrics()
    assert httpx.get(edge.metrics_url + "/readyz").json()["admin_closed"] is True

    def opens() -> bool:
        assert edge.put(dump_state(state)).json()["applied"] is False
        return administer().status_code == 200

    wait_until(opens, "the controller's next word opens it")
    edge.config.state_file.write_bytes(dump_state(state))
    edge.stop()
    edge.start()  # the state is from disk, and its age unknown
    assert (administer().status_code, httpx.get(edge.url + READ, headers=bearer).status_code) == (503, 200)


def test_a_stream_is_passed_on_as_it_is_produced(edge: Any) -> None:
    """The backend makes its second event only after the test has read the first."""
    with httpx.stream("POST", edge.url + "/v1/chat/completions", headers=edge.signer.bearer(), timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 0"
        edge.backend.go_on.set()
        rest = [line for line in lines if line]
    assert rest == [f"data: {number}" for number in range(1, 10)]


def test_a_restart_needs_nothing_but_the_last_good_state(edges: Any, backends: Any, endpoint: Any) -> None:
    edge = edges()
    backend = backends()
    state = edge.state({"memory": [endpoint(backend.port)]})
    assert edge.put(dump_state(state)).status_code == 200
    edge.config.state_file.write_bytes(dump_state(state))
    edge.stop()
    edge.start()  # nobody sends a state this time
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200
    assert f"gateway_state_version {state.version}" in edge.metrics()
    assert "gateway_state_age_seconds -1" in edge.metrics()


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 7}', b"\x00" * 100])
def test_a_broken_last_state_is_503_until_a_good_one_comes(
    edges: Any, backends: Any, endpoint: Any, short_directory: Any, content: bytes
) -> None:
    (short_directory / "state.json").write_bytes(content)
    edge = edges()
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 503
    edge.push({"memory": [endpoint(backends().port)]})
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200


def test_a_killed_nginx_can_be_started_again(edge: Any, endpoint: Any, wait_until: Any) -> None:
    """Its workers go with it, and its socket is no obstacle."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(edge.process.pid)], capture_output=True, check=True, text=True
    )
    workers = [int(pid) for pid in children.stdout.split()]
    assert len(workers) == edge.config.workers
    edge.process.kill()
    edge.process.wait(10)
    wait_until(lambda: not any(_lives(pid) for pid in workers), "the workers are gone")
    assert edge.config.admin_socket.exists()
    edge.start()
    edge.push({"memory": [endpoint(edge.backend.port)]})
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _mutations(good: dict[str, Any]) -> dict[str, Any]:
    def changed(**members: Any) -> dict[str, Any]:
        return {**good, "version": good["version"] + 1, **members}

    def endpoint_with(**members: Any) -> dict[str, Any]:
        one = {**good["services"]["memory"]["endpoints"][0], **members}
        return changed(services={"memory": {"endpoints": [one]}})

    key = good["keys"][0]
    return {
        "not an object": [],
        "no version": {name: value for name, value in good.items() if name != "version"},
        "version a string": changed(version="9"),
        "version a fraction": changed(version=9.5),
        "no keys": changed(keys=[]),
        "key not DER": changed(keys=[{**key, "spki": "AAAA"}]),
        "key of another kind": changed(keys=[{**key, "alg": "RS256"}]),
        "alg none": changed(keys=[{**key, "alg": "none"}]),
        "key twice": changed(keys=[key, key]),
        "port 0": endpoint_with(port=0),
        "port 65536": endpoint_with(port=65536),
        "host a name": endpoint_with(host="localhost"),
        "host 1.2.3.999": endpoint_with(host="1.2.3.999"),
        "weight 0": endpoint_with(weight=0),
        "draining a string": endpoint_with(draining="no"),
        "services a list of strings": changed(services={"memory": "x"}),
        "roles a string": changed(roles="admin"),
        "permission a number": changed(roles={"admin": [1]}),
        "no revocations": changed(revoked=None),
        "revoked a string": changed(revoked={"tokens": {"a": "b"}, "subjects": {}, "not_before": 0}),
    }


def test_a_wrong_state_is_refused_and_the_old_one_stays(edge: Any, endpoint: Any) -> None:
    good = msgspec.to_builtins(edge.state({"memory": [endpoint(edge.backend.port)]}))
    assert edge.put(json.dumps(good).encode()).status_code == 200
    for name, wrong in _mutations(good).items():
        answer = edge.put(json.dumps(wrong).encode())
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-state"), name
        assert answer.json()["detail"], name
    for content in (b"", b"{", b"\xff\xfe"):
        assert edge.put(content).status_code == 422
    answer = edge.put(json.dumps({**good, "version": good["version"] - 1}).encode())
    assert (answer.status_code, answer.json()["current_version"]) == (409, good["version"])
    assert edge.put(json.dumps(good).encode()).json() == {"version": good["version"], "applied": False}
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200
    assert f"gateway_state_refused_total {len(_mutations(good)) + 4}" in edge.metrics()


def test_a_pool_is_emptied_only_when_that_is_confirmed(edge: Any, endpoint: Any) -> None:
    bearer = edge.signer.bearer()
    silent: tuple[dict[str, ServiceState], ...] = ({"memory": ServiceState(endpoints=())}, {})
    for services in silent:
        answer = edge.put(dump_state(msgspec.structs.replace(edge.state({}), services=services)))
        assert "memory" in answer.json()["kept"]
        assert httpx.get(edge.url + READ, headers=bearer).status_code == 200
    confirmed = {"memory": ServiceState(endpoints=(), confirmed=True)}
    answer = edge.put(dump_state(msgspec.structs.replace(edge.state({}), services=confirmed)))
    assert "memory" not in answer.json()["kept"]
    assert httpx.get(edge.url + READ, headers=bearer).status_code == 503


def test_the_figures_name_service_route_and_class(edge: Any, wait_until: Any) -> None:
    bearer = edge.signer.bearer()
    for _ in range(3):
        httpx.get(edge.url + READ, headers=bearer)
    httpx.get(edge.url + READ)
    httpx.get(edge.url + "/memory/v1/changes", headers=bearer)
    httpx.post(edge.url + "/api/v2/tenants/other/databases/d/collections/c/query", headers=bearer)
    wanted = {
        'gateway_requests_total{service="memory",route="read",method="GET",status="2xx"} 3',
        'gateway_requests_total{service="memory",route="read",method="GET",status="4xx"} 1',
        'gateway_requests_total{service="chromadb",route="query",method="POST",status="4xx"} 1',
        'gateway_requests_total{service="memory",route="changes",method="GET",status="2xx"} 1',
        # the feed is held open on purpose: it has no response time
        'gateway_request_duration_seconds_count{service="memory"} 4',
        'gateway_request_duration_seconds_bucket{service="memory",le="+Inf"} 4',
        'gateway_first_byte_seconds_count{service="memory"} 3',
        'gateway_refused_total{service="memory",reason="401"} 1',
        'gateway_refused_total{service="chromadb",reason="tenant"} 1',
        'gateway_in_flight{service="memory"} 0',
        "gateway_keys 1",
    }
    # the other worker hands its figures over once a second
    wait_until(lambda: wanted <= set(edge.metrics().splitlines()), "all figures are there")
    figures = edge.metrics()
    assert "ada" not in figures
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=figures, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_caller_over_its_limit_is_429(edges: Any, backends: Any, endpoint: Any) -> None:
    edge = edges(services=(EdgeService(name="memory", limits=Limits(requests_per_s=1, burst=2, concurrent=10)),))
    edge.push({"memory": [endpoint(backends().port)]})
    ada, grace = edge.signer.bearer(), edge.signer.bearer(sub="grace")
    answers = [httpx.get(edge.url + READ, headers=ada) for _ in range(8)]
    assert {one.status_code for one in answers} == {200, 429}
    refused = next(one for one in answers if one.status_code == 429)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("too-many-requests", "1")
    assert httpx.get(edge.url + READ, headers=grace).status_code == 200


@pytest.mark.parametrize(
    "place", ["local function answer_to(service_name, context)", "function _M.decide(service_name)"]
)
def test_a_fault_in_the_lua_lets_nothing_through(
    edges: Any, backends: Any, endpoint: Any, short_directory: Path, place: str
) -> None:
    lua = short_directory / "lua"
    shutil.copytree(LUA_DIRECTORY, lua)
    source = (lua / "edge.lua").read_text()
    assert place in source
    (lua / "edge.lua").write_text(source.replace(place, f"{place} error('on purpose')"))
    edge, backend = edges(lua_directory=lua), backends()
    edge.push({"memory": [endpoint(backend.port)]})
    answer = httpx.get(edge.url + READ, headers=edge.signer.bearer())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert not backend.seen()


def test_every_service_has_a_policy_and_a_place(module_edge: Any) -> None:
    assert {one.name for one in module_edge.config.services} == set(POLICY)
    assert os.stat(module_edge.config.run_directory).st_mode & 0o077 == 0  # noqa: PTH116 - the bits are the point


def test_the_launcher_becomes_nginx_and_refuses_a_second_one(
    edge: Any, backends: Any, endpoint: Any, wait_until: Any
) -> None:
    command = (sys.executable, "-m", "ragrid.gateway.launch", str(edge.directory))
    second = run(command, timeout_s=30, check=False)
    assert second.exit_code == 4
    assert "another gateway answers there" in second.stderr
    edge.process.kill()  # leaves its socket behind
    edge.process.wait(10)
    with (edge.directory / "stderr.log").open("ab") as log:
        edge.process = after_kill.start(command, stderr=log)
    wait_until(lambda: httpx.get(edge.metrics_url + "/healthz").status_code == 200, "nginx answers")
    edge.push({"memory": [endpoint(edge.backend.port)]})
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200
    assert edge.process.poll() is None
    assert Path(f"/proc/{edge.process.pid}/exe").readlink().name == "nginx"
