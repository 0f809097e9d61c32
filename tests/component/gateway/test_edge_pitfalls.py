"""The sixteen known pitfalls of an edge like this one, each with the test that would notice it. Those without one of
their own elsewhere have it here."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ragrid.gateway.config import EdgeService, HealthChecks
from ragrid.gateway.lua import LUA_DIRECTORY
from ragrid.gateway.state import Revocations, dump_state

READ = "/memory/v1/memories/1"
SEARCH = "/memory/v1/memories/search"
#: What can go wrong -> the tests that notice it: `file::test`, below tests/.
PITFALLS = {
    "1 a full dictionary pushes out a revocation": ("pitfalls::test_a_state_without_room_leaves_every_revocation",),
    "2 nothing is known after a restart": (
        "traffic::test_before_any_state_it_is_503",
        "traffic::test_a_restart_needs_nothing_but_the_last_good_state",
    ),
    "3 a cache writes tokens to the disk": ("pitfalls::test_nothing_is_cached_and_no_port_is_shared",),
    "4 claims of other types": ("crafted_tokens::test_every_crafted_token_is_refused",),
    "5 the token chooses its algorithm": ("crafted_tokens::test_every_crafted_token_is_refused",),
    "6 an unknown key asks for keys at every request": ("pitfalls::test_an_unknown_key_asks_nobody",),
    "7 a client speaks as a proxy": (
        "hardening::test_words_of_a_proxy_are_not_a_callers_to_say",
        "authorization::test_only_our_own_services_see_the_token",
    ),
    "8 a path is checked in one spelling and sent in another": (
        "hardening::test_a_path_with_two_readings_goes_nowhere",
        "hardening::test_a_spelling_that_means_the_same_needs_the_same_permission",
    ),
    "9 backends leave more open than they say": (
        "real_operation::test_every_operation_of_vllm_is_decided",
        "real_operation::test_every_operation_of_chromadb_is_decided",
    ),
    "10 a dead worker's connections count for ever": ("pitfalls::test_a_killed_worker_leaves_no_count_behind",),
    "11 every worker checks every instance": ("pitfalls::test_one_worker_alone_checks_the_instances",),
    "12 a dead verifier refuses everybody": ("traffic::test_a_restart_needs_nothing_but_the_last_good_state",),
    "13 shared ports drop connections on a reload": ("pitfalls::test_nothing_is_cached_and_no_port_is_shared",),
    "14 a replay has lost its body": ("pitfalls::test_a_replayed_request_has_its_whole_body",),
    "15 a figure for every caller and path": ("traffic::test_the_figures_name_service_route_and_class",),
    "16 Lua for one version of nginx": ("pitfalls::test_the_lua_asks_for_no_version",),
}


def test_every_pitfall_has_its_test() -> None:
    assert len(PITFALLS) == 16
    sources = {path.stem: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}
    for pitfall, tests in PITFALLS.items():
        for place, _, name in (one.partition("::") for one in tests):
            found = [stem for stem, text in sources.items() if stem.endswith(place) or place in stem]
            assert any(f"def {name}(" in sources[stem] for stem in found), (pitfall, name)


def test_a_state_without_room_leaves_every_revocation(edge: Any, endpoint: Any) -> None:
    """Pitfall 1: the document of the state is stored whole or not at all."""
    services = {"memory": [endpoint(edge.backend.port)]}
    later = time.time() + 600
    bearer = edge.signer.bearer(jti="revoked-one")
    edge.push(services, revoked=Revocations(tokens={"revoked-one": later}))
    assert httpx.get(edge.url + READ, headers=bearer).status_code == 401
    many: dict[str, float] = {f"token-{number:024}": int(later) for number in range(379_000)}
    state = dump_state(edge.state(services, revoked=Revocations(tokens=many)))
    assert 16_650_000 < len(state) < 16 << 20, "more than the dictionary has room for, and less than a body may have"
    answer = edge.put(state)
    assert (answer.status_code, answer.json()["code"]) == (507, "no-room"), answer.text
    assert httpx.get(edge.url + READ, headers=bearer).status_code == 401
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200
    assert re.search(r"^gateway_state_free_bytes \d+$", edge.metrics(), re.MULTILINE)
    assert "gateway_state_refused_total 1" in edge.metrics()


def test_nothing_is_cached_and_no_port_is_shared(edge: Any, wait_until: Any) -> None:
    """Pitfalls 3 and 13."""
    text = (edge.directory / "nginx.conf").read_text()
    assert "_cache_path" not in text
    assert "reuseport" not in text
    token = edge.signer.token()
    body = b"x" * 300_000  # larger than its buffer: it goes to a file
    answer = httpx.post(edge.url + SEARCH, headers={"Authorization": f"Bearer {token}"}, content=body)
    assert answer.status_code == 200

    def is_clean() -> bool:
        return [path.name for path in edge.config.run_directory.rglob("*") if path.is_file()] == ["nginx.pid"]

    wait_until(is_clean, "the body's file is gone")  # the caller may have the answer a moment before


def test_an_unknown_key_asks_nobody(edge: Any) -> None:
    """Pitfall 6: keys come by push; a stranger's token costs no request to anybody."""
    for number in range(50):
        token = edge.signer.token(header={"kid": f"nobody-{number}"})
        assert httpx.get(edge.url + READ, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert edge.backend.seen() == []


def _workers(edge: Any) -> list[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(edge.process.pid)]
    return [int(pid) for pid in subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()]


def test_a_killed_worker_leaves_no_count_behind(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    """Pitfall 10: its streams die with it; the instance that served them gets its share of what comes next."""
    edge = edges(workers=1)
    busy, other = backends("busy"), backends("other")
    edge.push({"vllm": [endpoint(busy.port)]})
    bearer = edge.signer.bearer()

    def stream() -> None:
        try:
            httpx.post(edge.url + "/v1/chat/completions", headers=bearer, timeout=20)
        except httpx.HTTPError:
            return

    threads = [threading.Thread(target=stream) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(busy.seen()) == 20, "twenty streams run")
    [worker] = _workers(edge)
    os.kill(worker, signal.SIGKILL)
    for thread in threads:
        thread.join()
    busy.go_on.set()
    wait_until(lambda: _workers(edge) not in ([], [worker]), "another worker is there")
    edge.push({"vllm": [endpoint(busy.port), endpoint(other.port)]})

    def shares() -> tuple[int, int]:
        for _ in range(20):
            assert httpx.get(edge.url + "/v1/models", headers=bearer).status_code == 200
        models = [[one for one in backend.seen() if one["path"] == "/v1/models"] for backend in (busy, other)]
        return len(models[0]), len(models[1])

    wait_until(lambda: min(shares()) > 0, "both get requests")


def test_one_worker_alone_checks_the_instances(edges: Any, backends: Any, endpoint: Any, wait_until: Any) -> None:
    """Pitfall 11: four workers, and no more checks than one makes. (A slow machine makes fewer: no lower bound.)"""
    edge = edges(workers=4, health=HealthChecks(interval_s=0.1))
    backend = backends()
    edge.push({"memory": [endpoint(backend.port)]})
    wait_until(lambda: backend.requests, "the first check")
    before, began = len(backend.requests), time.monotonic()
    wait_until(lambda: len(backend.requests) >= before + 10, "ten more")
    turns = (time.monotonic() - began) / 0.1
    assert len(backend.requests) - before <= turns * 1.5 + 3


def test_a_replayed_request_has_its_whole_body(edges: Any, backends: Any, endpoint: Any) -> None:
    """Pitfall 14: the body was collected (into a file, this one), so the second instance gets all of it."""
    edge = edges(services=(EdgeService(name="memory", balance="round_robin"),))
    sturdy = backends("sturdy")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_hang_up_on_everybody, args=(listener,), daemon=True).start()
        edge.push({"memory": [endpoint(listener.getsockname()[1], weight=1000), endpoint(sturdy.port)]})
        body = bytes(range(256)) * 1600
        answer = httpx.post(edge.url + SEARCH, headers=edge.signer.bearer(), content=body)
        assert answer.status_code == 200, edge.log()
        listener.shutdown(socket.SHUT_RDWR)
    [arrived] = sturdy.seen()
    assert arrived["body"] == body


def _hang_up_on_everybody(listener: socket.socket) -> None:
    """Read a whole request and close; checks are answered, so that only requests show what it is."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(10)
            head = connection.recv(65536)
            if b"ragrid-gateway" in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                continue
            left = 409_600 - len(head.partition(b"\r\n\r\n")[2])
            while left > 0 and (piece := connection.recv(65536)):
                left -= len(piece)


@pytest.mark.parametrize("file", sorted(path.name for path in LUA_DIRECTORY.glob("*.lua")))
def test_the_lua_asks_for_no_version(file: str) -> None:
    """Pitfall 16: the same files ran on nginx 1.22, 1.26 and 1.30; what asks for a version would not be so."""
    assert not re.search(r"nginx_version|ngx_lua_version|nginx_configure", (LUA_DIRECTORY / file).read_text())


def test_the_state_is_read_whole_or_not_at_all(edge: Any, endpoint: Any) -> None:
    """Beside pitfall 1: a state cut anywhere is refused, and the one before it stays."""
    whole = dump_state(edge.state({"memory": [endpoint(edge.backend.port)]}))
    for cut in range(1, len(whole), 37):
        assert edge.put(whole[:cut]).status_code == 422
    assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).status_code == 200
    assert edge.put(whole).json()["version"] == msgspec.json.decode(whole)["version"]
