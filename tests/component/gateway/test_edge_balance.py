"""How requests are spread: even shares, the same instance for the same session, slow start, drain."""

import collections
import concurrent.futures
import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import EdgeService
from ragrid.gateway.launch import nginx_command
from support import after_kill

READ = "/memory/v1/records/1"
REQUESTS = 10_000
THREADS = 8


@pytest.fixture
def three(short_directory: Path, ports: Any, wait_until: Any) -> Iterator[dict[str, int]]:
    """Three equal instances, name → port; each answers with its name."""
    directory = short_directory / "instances"
    directory.mkdir()
    names = dict(zip("abc", ports(3), strict=True))
    servers = "\n".join(
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{name}'; }} }}" for name, port in names.items()
    )
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{name}_temp_path {directory};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; master_process off; pid {directory}/pid; error_log stderr error; events {{}}\n"
        f"http {{ access_log off; keepalive_requests 100000; {temporary} {servers} }}\n"
    )
    process = after_kill.start(nginx_command(directory), stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{names['c']}/").text == "c", "the instances answer")
        yield names
    finally:
        process.kill()
        process.wait(10)


def _ask(edge: Any, headers: dict[str, str], number: int = 1) -> "collections.Counter[str]":
    """Who answered `number` requests over one connection."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {READ} HTTP/1.1\r\nHost: edge\r\n{lines}\r\n".encode()
    got: collections.Counter[str] = collections.Counter()
    with socket.create_connection(("127.0.0.1", edge.config.http_port), timeout=20) as connection:
        for _ in range(number):
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            got[answer[-1:].decode()] += 1
    return got


@pytest.mark.parametrize(("balance", "tolerance"), [("round_robin", 0.05), ("least_conn", 0.15)])
def test_ten_thousand_requests_are_spread_evenly(
    edges: Any, endpoint: Any, three: dict[str, int], balance: Any, tolerance: float
) -> None:
    edge = edges(services=(EdgeService(name="memory", balance=balance),))
    edge.push({"memory": [endpoint(port) for port in three.values()]})
    bearer = edge.signer.bearer()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        each = [REQUESTS // THREADS] * THREADS
        got = sum(pool.map(lambda number: _ask(edge, bearer, number), each), collections.Counter())
    assert got.total() == REQUESTS
    fair = REQUESTS / 3
    assert all(abs(got[name] - fair) <= tolerance * fair for name in three), got


def _home(edge: Any, session: str, **claims: Any) -> str:
    headers = {**edge.signer.bearer(**claims), **({"X-Session-Id": session} if session else {})}
    return next(iter(_ask(edge, headers)))


def test_a_session_stays_where_it_is_and_only_those_of_a_lost_instance_move(
    edges: Any, endpoint: Any, three: dict[str, int]
) -> None:
    edge = edges(services=(EdgeService(name="memory", balance="hash"),))
    everyone = [endpoint(port) for port in three.values()]
    edge.push({"memory": everyone})
    sessions = [f"session-{number}" for number in range(60)]
    homes = {session: _home(edge, session) for session in sessions}
    assert set(homes.values()) == set(three)
    # each request may meet the other worker, which must agree
    assert {session: _home(edge, session) for session in sessions} == homes
    edge.push({"memory": [one for one in everyone if one.port != three["b"]]})
    moved = {session: _home(edge, session) for session in sessions}
    assert set(moved.values()) == {"a", "c"}
    assert all(moved[session] == home for session, home in homes.items() if home != "b")
    edge.push({"memory": [one if one.port != three["b"] else endpoint(one.port, draining=True) for one in everyone]})
    assert {session: _home(edge, session) for session in sessions} == moved
    edge.push({"memory": everyone})
    assert {session: _home(edge, session) for session in sessions} == homes
    # without a session the caller is the key, and the same session of another caller is another one
    assert len({_home(edge, "") for _ in range(6)}) == 1
    assert len({_home(edge, "session-0", sub=f"caller-{number}") for number in range(20)}) > 1


def test_a_session_of_a_dead_instance_is_served_by_another(
    edges: Any, endpoint: Any, three: dict[str, int], ports: Any
) -> None:
    edge = edges(services=(EdgeService(name="memory", balance="hash"),))
    edge.push({"memory": [endpoint(three["a"]), endpoint(ports(1)[0])]})
    assert {_home(edge, f"session-{number}") for number in range(20)} == {"a"}


@pytest.mark.parametrize("balance", ["round_robin", "least_conn"])
def test_an_instance_that_joins_starts_slowly(edges: Any, endpoint: Any, three: dict[str, int], balance: Any) -> None:
    edge = edges(services=(EdgeService(name="memory", balance=balance, slow_start_s=3600.0),), workers=1)
    bearer = edge.signer.bearer()
    edge.push({"memory": [endpoint(three["a"]), endpoint(three["b"])]})
    assert set(_ask(edge, bearer, 20)) == {"a", "b"}
    edge.push({"memory": [endpoint(port) for port in three.values()]})
    got = _ask(edge, bearer, 400)
    assert 0 < got["c"] <= 0.1 * got.total(), got  # a tenth of its weight is a 21st of all


def test_with_no_slow_start_it_has_its_share_at_once(edges: Any, endpoint: Any, three: dict[str, int]) -> None:
    service = EdgeService(name="memory", balance="round_robin", slow_start_s=0.0)
    edge = edges(services=(service, EdgeService(name="rag", slow_start_s=3600.0)), workers=1)
    edge.push({"memory": [endpoint(three["a"])]})
    edge.push({"memory": [endpoint(three["a"]), endpoint(three["b"], weight=3)]})
    assert _ask(edge, edge.signer.bearer(), 40) == {"a": 10, "b": 30}


def test_a_stream_ends_whole_on_an_instance_that_drains(
    edges: Any, backends: Any, endpoint: Any, wait_until: Any
) -> None:
    edge = edges(services=(EdgeService(name="vllm"), EdgeService(name="memory")))
    leaving, staying = backends("leaving"), backends("staying")
    edge.push({"vllm": [endpoint(leaving.port)], "memory": [endpoint(leaving.port)]})
    events: list[str] = []

    def stream() -> None:
        bearer = edge.signer.bearer()
        with httpx.stream("POST", edge.url + "/v1/chat/completions", headers=bearer, timeout=20) as answer:
            events.extend(line for line in answer.iter_lines() if line)

    with contextlib.ExitStack() as stack:
        reader = threading.Thread(target=stream)
        reader.start()
        stack.callback(reader.join)
        stack.callback(leaving.go_on.set)
        wait_until(leaving.seen, "the stream has begun")
        both = [endpoint(leaving.port, draining=True), endpoint(staying.port)]
        edge.push({"vllm": both, "memory": both})
        for _ in range(20):
            assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).json()["backend"] == "staying"
    assert events == [f"data: {number}" for number in range(10)]
    assert len(leaving.seen()) == 1
