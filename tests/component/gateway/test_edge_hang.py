"""What waits on an instance that hangs: taken from it where that is safe, left alone where it is not. No clock in here:
the instance stays stopped until everything that must not wait for it has been answered."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragrid.gateway.config import EdgeService, HealthChecks, MutualTls
from support.authority import SERVICE_NAME, Authority
from support.hanging_instance import HangingInstance

HOLD, FREEZE = "/memory/v1/records/hold", "/memory/v1/records/freeze"
BEGIN, ASK = "/rag/v1/documents/begin", "/rag/v1/ask"
READS = 4
PATIENCE_S = 30.0
SERVICES = tuple(EdgeService(name=name, balance="round_robin") for name in ("memory", "rag"))


def _released(edge: Any, service: str) -> float:
    sample = f'gateway_released_total{{service="{service}"}} '
    return sum(float(line.removeprefix(sample)) for line in edge.metrics().splitlines() if line.startswith(sample))


def _is_up(edge: Any, port: int) -> bool:
    return f'instance="i{port}"}} 1' in edge.metrics()


class Callers:
    """Requests that run beside the test."""

    def __init__(self, edge: Any) -> None:
        self._bearer = edge.signer.bearer()
        self._client = httpx.Client(base_url=edge.url, timeout=60, limits=httpx.Limits(max_connections=100))
        self._pool = ThreadPoolExecutor(32)

    def ask(self, method: str, path: str) -> "Future[httpx.Response]":
        return self._pool.submit(self._client.request, method, path, headers=self._bearer)

    def stream(self, path: str) -> contextlib.AbstractContextManager[httpx.Response]:
        return self._client.stream("GET", path, headers=self._bearer)

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._client.close()


@pytest.fixture
def callers(instances: Any) -> Iterator[Callable[[Any], Callers]]:
    """Makes callers of an edge; they end once no instance hangs any more."""
    made: list[Callers] = []

    def make(edge: Any) -> Callers:
        made.append(Callers(edge))
        return made[-1]

    yield make
    instances.end()
    for one in made:
        one.end()


class Instances:
    """Starts instances that can hang, and ends them all."""

    def __init__(self, directory: Path, ports: Any, wait_until: Any) -> None:
        self._directory, self._ports, self._wait_until = directory, ports, wait_until
        self._started: list[HangingInstance] = []

    def start(self, **settings: Any) -> HangingInstance:
        one = HangingInstance(self._directory, self._ports(1)[0], **settings)
        self._started.append(one)
        self._wait_until(lambda: "ready" in one.reached(), "the instance runs")
        return one

    def end(self) -> None:
        while self._started:
            self._started.pop().end()


@pytest.fixture
def instances(tmp_path: Path, ports: Any, wait_until: Any) -> Iterator[Instances]:
    """Instances that can hang."""
    made = Instances(tmp_path, ports, wait_until)
    yield made
    made.end()


def _put_on(callers: Callers, instance: HangingInstance, method: str, path: str) -> "Future[httpx.Response]":
    """Ask until a request is on the instance; where it seemed slow for a moment, another one got the first."""
    line, end_s = f"{method} {path.rpartition('/')[2]}", time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        before, future, enough_s = instance.reached().count(line), callers.ask(method, path), time.monotonic() + 2
        while not future.done() and time.monotonic() < enough_s:
            if instance.reached().count(line) > before:
                return future
            time.sleep(0.005)
    pytest.fail(f"{line} never came to the instance")


@contextlib.contextmanager
def _begun(callers: Callers) -> Iterator[Iterator[bytes]]:
    """A stream of the hanging instance, behind its first piece."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        with callers.stream(BEGIN) as answer:
            pieces = answer.iter_raw()
            if next(pieces) == b"hanging":
                yield pieces
                return
    pytest.fail("the stream never came to the instance")


def _mutual(tmp_path: Path) -> tuple[MutualTls, tuple[Path, ...], Authority]:
    authority = Authority(tmp_path, "ours")
    certificate, key = authority.leaf("gateway")
    files = MutualTls(
        certificate_file=certificate, key_file=key, authority_file=authority.file, server_name=SERVICE_NAME
    )
    return files, (*authority.leaf(SERVICE_NAME), authority.file), authority


@pytest.mark.parametrize("kind", ["plain", "mutual TLS", "IPv6"])
def test_what_waits_on_a_hung_instance_is_answered_by_another_and_a_write_is_not_repeated(
    edges: Any,
    instances: Instances,
    callers: Any,
    backends: Any,
    endpoint: Any,
    wait_until: Any,
    tmp_path: Path,
    kind: str,
) -> None:
    if kind == "mutual TLS":
        files, tls, authority = _mutual(tmp_path)
        edge, hanging = edges(services=SERVICES, mutual_tls=files), instances.start(tls=tls)
        sturdy = backends("sturdy", tls=authority.server())
    else:
        edge, sturdy = edges(services=SERVICES), backends("sturdy")
        hanging = instances.start(host="::1" if kind == "IPv6" else "127.0.0.1")
    pool = [endpoint(hanging.port, host=hanging.host, weight=1000), endpoint(sturdy.port)]
    edge.push({"memory": pool, "rag": pool})
    some = callers(edge)

    def writes_elsewhere() -> int:
        return sum((one["method"], one["path"]) == ("POST", HOLD) for one in sturdy.seen())

    write = _put_on(some, hanging, "POST", HOLD)
    before = writes_elsewhere()
    with _begun(some) as stream:
        held = [_put_on(some, hanging, "GET", HOLD) for _ in range(READS)]
        held.append(_put_on(some, hanging, "POST", ASK))
        held.append(_put_on(some, hanging, "GET", FREEZE))
        wait_until(lambda: hanging.is_stopped, "it hangs")
        answers = [one.result(60) for one in held]
        assert hanging.is_stopped
        assert {(one.status_code, one.json()["backend"]) for one in answers} == {(200, "sturdy")}, edge.log()
        wait_until(lambda: _released(edge, "memory") >= 1 and _released(edge, "rag") >= 1, "they are counted")
        assert not write.done()

        hanging.go_on()
        assert b"".join(stream) == b" ends"
    answer = write.result(60)
    assert (answer.status_code, answer.json()["backend"]) == (200, "hanging"), edge.log()
    assert hanging.reached().count("POST hold") == 1
    assert writes_elsewhere() == before
    wait_until(lambda: _is_up(edge, hanging.port), "it is back")


def test_nothing_is_taken_from_the_last_instance(
    edges: Any, instances: Instances, callers: Any, endpoint: Any, wait_until: Any
) -> None:
    """There were two when the request came; the other died, so there is nowhere to go."""
    edge = edges(services=SERVICES, health=HealthChecks(suspect_s=1.0, timeout_s=2.0))
    hanging, dies = instances.start(), instances.start()
    edge.push({"memory": [endpoint(hanging.port, weight=1000), endpoint(dies.port)]})
    some = callers(edge)
    held = _put_on(some, hanging, "GET", HOLD)
    dies.end()
    wait_until(lambda: not _is_up(edge, dies.port), "the other one is out")
    hanging.stop()
    wait_until(lambda: not _is_up(edge, hanging.port), "a check has waited for it in vain")
    hanging.go_on()
    answer = held.result(60)
    assert (answer.status_code, answer.json()["backend"]) == (200, "hanging"), edge.log()
    assert _released(edge, "memory") == 0


def test_a_write_that_has_no_connection_yet_goes_elsewhere(
    edges: Any, callers: Any, backends: Any, endpoint: Any
) -> None:
    """The instance takes no more connections, as one that is cut off from the network does. Nothing was sent to it."""
    edge, sturdy = edges(services=SERVICES, health=HealthChecks(suspect_s=1.0)), backends("sturdy")
    some = callers(edge)
    for _ in range(5):  # a machine may be so slow that the check is there before the request
        with _full() as port:
            edge.push({"memory": [endpoint(port, weight=1000), endpoint(sturdy.port)]})
            answer = some.ask("POST", HOLD).result(60)
        assert (answer.status_code, answer.json()["backend"]) == (200, "sturdy"), edge.log()
        if _released(edge, "memory"):
            break
    assert _released(edge, "memory") == 1, edge.log()


@contextlib.contextmanager
def _full() -> Iterator[int]:
    """A port whose queue of connections is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            one = stack.enter_context(socket.socket())
            one.settimeout(0.2)
            try:
                one.connect(server.getsockname())
            except TimeoutError:
                break
        yield int(server.getsockname()[1])
