"""What an instance's death, hang and return cost those who ask, and which figures tell of them."""

import signal
import sys
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import EdgeService, HealthChecks
from support import after_kill
from support.edge_load import Load

READ = "/memory/v1/collections/c/records/1"

_BACKEND_PROGRAM = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/die"):
            import os
            os._exit(9)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Process:
    """A backend in a process of its own, to be killed or stopped."""

    def __init__(self, port: int, wait_until: Any) -> None:
        self.port = port
        self._wait_until = wait_until
        self.start()

    def start(self) -> None:
        self.process = after_kill.start([sys.executable, "-c", _BACKEND_PROGRAM, str(self.port)])
        self._wait_until(lambda: httpx.get(f"http://127.0.0.1:{self.port}/").status_code == 200, "backend answers")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def processes(wait_until: Any) -> Any:
    started: list[Process] = []

    def start(port: int) -> Process:
        started.append(Process(port, wait_until))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.kill()


def _instance_up(edge: Any, port: int) -> str:
    marked = f'instance="i{port}"}} '
    return str(next(line.rpartition(" ")[2] for line in edge.metrics().splitlines() if marked in line))


def test_a_killed_instance_costs_no_idempotent_request(
    edges: Any, processes: Any, ports: Any, endpoint: Any, wait_until: Any
) -> None:
    """A search is a POST that changes nothing; for GET, see test_bench_failover.py."""
    edge = edges()
    first, second = (processes(port) for port in ports(2))
    edge.push({"memory": [endpoint(one.port) for one in (first, second)]})
    with Load(edge, "POST", "/memory/v1/memories/search") as load:
        wait_until(lambda: load.done() > 50, "load runs")
        first.kill()
        before = load.done()
        wait_until(lambda: load.done() > before + 100, "load goes on over the other one")
        wait_until(lambda: _instance_up(edge, first.port) == "0", "the dead one is out")
        first.start()
        wait_until(lambda: _instance_up(edge, first.port) == "1", "it is back")
    assert not load.errors
    assert set(load.statuses) == {200}, (load.statuses, edge.log())


def test_a_write_that_was_sent_is_not_sent_again(
    edges: Any, processes: Any, backends: Any, ports: Any, endpoint: Any
) -> None:
    """At most once: the instance dies on the request, and no other one gets it. An idempotent route tries on."""
    edge = edges(services=(EdgeService(name="memory", balance="round_robin"),))
    fragile, sturdy = processes(ports(1)[0]), backends("sturdy")
    edge.push({"memory": [endpoint(fragile.port, weight=1000), endpoint(sturdy.port)]})
    answer = httpx.put(edge.url + "/memory/v1/collections/c/records/die", headers=edge.signer.bearer(), content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (502, "bad-gateway"), answer.text
    assert not sturdy.seen()
    # now it is down: nothing can be sent to it, so even a write goes to the other one
    answer = httpx.put(edge.url + "/memory/v1/collections/c/records/2", headers=edge.signer.bearer(), content=b"x")
    assert answer.status_code == 200, edge.log()


def test_a_hung_instance_is_ejected_and_comes_back(
    edges: Any, processes: Any, backends: Any, ports: Any, endpoint: Any, wait_until: Any
) -> None:
    edge = edges()
    hangs, works = processes(ports(1)[0]), backends("works")
    edge.push({"memory": [endpoint(hangs.port), endpoint(works.port)]})
    hangs.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: _instance_up(edge, hangs.port) == "0", "the hung one is out")
    for _ in range(10):
        assert httpx.get(edge.url + READ, headers=edge.signer.bearer()).json()["backend"] == "works"
    hangs.process.send_signal(signal.SIGCONT)
    wait_until(lambda: _instance_up(edge, hangs.port) == "1", "it is back")


def _figure(edge: Any, sample: str) -> float:
    lines = [line for line in edge.metrics().splitlines() if line.startswith(sample + " ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_retries_and_ejections_are_counted_by_service_and_cause(
    edges: Any, processes: Any, backends: Any, ports: Any, endpoint: Any, wait_until: Any
) -> None:
    never = HealthChecks(interval_s=3600)
    edge = edges(services=(EdgeService(name="memory", balance="round_robin"),), health=never, workers=1)
    fragile, sturdy = processes(ports(1)[0]), backends("sturdy")
    edge.push({"memory": [endpoint(fragile.port, weight=1000), endpoint(sturdy.port)]})
    assert httpx.get(edge.url + "/memory/v1/x/die", headers=edge.signer.bearer()).status_code == 200
    assert len(sturdy.seen()) == 1
    assert _figure(edge, 'gateway_retries_total{service="memory"}') == 1
    assert _figure(edge, 'gateway_ejections_total{service="memory",cause="passive"}') == 1
    edge.stop()

    edge = edges(services=(EdgeService(name="memory"),))
    edge.version = 1
    edge.push({"memory": [endpoint(ports(1)[0]), endpoint(sturdy.port)]})
    ejections = 'gateway_ejections_total{service="memory",cause="%s"}'
    wait_until(lambda: _figure(edge, ejections % "active") == 1, "a check found it dead")
    assert _figure(edge, ejections % "passive") == 0
    assert _figure(edge, 'gateway_retries_total{service="memory"}') == 0


def test_an_instance_that_says_nothing_is_passed_over_before_it_counts_as_dead(
    edges: Any, processes: Any, backends: Any, ports: Any, endpoint: Any, wait_until: Any
) -> None:
    """And when it goes on it has its whole share at once: it was busy, not new."""
    patient = HealthChecks(suspect_s=0.3, timeout_s=60)
    service = EdgeService(name="memory", balance="round_robin", slow_start_s=3600.0)
    edge = edges(services=(service,), health=patient, workers=1)
    hangs, works = processes(ports(1)[0]), backends("works")
    edge.push({"memory": [endpoint(hangs.port), endpoint(works.port)]})
    hangs.process.send_signal(signal.SIGSTOP)
    with httpx.Client(base_url=edge.url, headers=edge.signer.bearer(), timeout=2) as client:

        def twenty_pass() -> bool:
            return all(client.get(READ).status_code == 200 for _ in range(20))

        wait_until(
            twenty_pass, "nothing goes there any more"
        )  # one that is held counts as an error, and is tried again
        assert _instance_up(edge, hangs.port) == "1"
        hangs.process.send_signal(signal.SIGCONT)

        def share() -> float:
            before = len(works.seen())
            assert twenty_pass()
            return (20 - (len(works.seen()) - before)) / 20

        wait_until(lambda: share() > 0.3, "it has its share again", 30.0)  # a new one would have a tenth of it


def test_a_check_that_hangs_delays_no_other(
    edges: Any, processes: Any, backends: Any, ports: Any, endpoint: Any, wait_until: Any
) -> None:
    edge = edges(health=HealthChecks(timeout_s=60))
    hangs, dies = (processes(port) for port in ports(2))
    edge.push({"memory": [endpoint(hangs.port), endpoint(dies.port), endpoint(backends().port)]})
    hangs.process.send_signal(signal.SIGSTOP)
    dies.kill()
    wait_until(lambda: _instance_up(edge, dies.port) == "0", "the dead one is out")
    dies.start()
    wait_until(lambda: _instance_up(edge, dies.port) == "1", "it is back")
    assert _instance_up(edge, hangs.port) == "1"
