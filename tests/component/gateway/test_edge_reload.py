"""The gateway as the local driver runs it: changed files and certificates are a reload, and bad ones change nothing."""

import collections
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ragrid.cli.context import site_of_file
from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.layout import open_layout
from ragrid.drivers.local.part import Part
from ragrid.drivers.local.parts_gateway import gateway_part
from ragrid.drivers.local.prepare import prepare
from ragrid.drivers.local.site import Site
from ragrid.errors import RagridError, StateError
from ragrid.gateway.state import GatewayState, Revocations, ServiceState, dump_state, keys_from_jwks
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.plan.steps import Action, diff
from ragrid.spec.load import load_grid
from ragrid.system.certificates import KeyPair, make_authority, make_leaf
from ragrid.system.clock import SystemClock
from support.running_grid import grid_document

READ = "/memory/v1/memories/1"
SERVICES: tuple[str, ...] = ("memory", "vllm")


@dataclass
class Driven:
    """A gateway and nothing else under a supervisor; `apply` is what `ragrid up` does with it."""

    document: dict[str, Any]
    file: Path
    state: Path
    signer: Any

    def site(self) -> Site:
        self.file.write_text(yaml.safe_dump(self.document))
        return site_of_file(load_grid(self.file), self.state)

    def driver(self, change: Callable[[Part], Part] = lambda part: part) -> LocalDriver:
        site = self.site()
        prepare(site, SystemClock(), say=lambda _: None)
        return LocalDriver(site.layout, [change(gateway_part(site))], python=Path(sys.executable))

    def apply(self, change: Callable[[Part], Part] = lambda part: part) -> list[Action]:
        driver = self.driver(change)
        driver.start_supervisor()
        steps = diff(driver.wanted(), driver.observe())
        for step in steps:
            driver.run(step)
        return [step.action for step in steps]

    def push(self, port: int, endpoint: Any) -> None:
        services = {name: ServiceState(endpoints=(endpoint(port),)) for name in SERVICES}
        keys = keys_from_jwks(self.signer.jwks())
        roles = dict(BUILTIN_ROLES)
        state = GatewayState(version=1, keys=keys, services=services, roles=roles, revoked=Revocations())
        socket = self.state / "run" / "gateway-admin.sock"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            assert client.put("http://edge/state", content=dump_state(state)).status_code == 200

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.state / "secrets" / "ca.crt"))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.document['gateway']['https']}"

    def bearer(self) -> dict[str, str]:
        headers: dict[str, str] = self.signer.bearer(iss=self.site().grid.public_url)
        return headers

    def get(self, path: str = READ) -> int:
        return httpx.get(self.url + path, headers=self.bearer(), verify=self.trust).status_code

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.document['gateway']['metrics_port']}/metrics").text

    def master(self) -> int:
        return int((self.state / "run" / "gateway" / "nginx.pid").read_text())

    def workers(self) -> set[int]:
        command = ["ps", "-o", "pid=", "--ppid", str(self.master())]
        return {int(pid) for pid in subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()}


@pytest.fixture
def driven(signer: Any, backends: Any, endpoint: Any, wait_until: Any) -> Iterator[Driven]:
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="ragrid-"))
    document = grid_document()
    document["services"] = {"memory": {"port": 3000}, "vllm": {"address": "http://127.0.0.1:9/v1"}}
    one = Driven(document, home / "grid.yaml", home / "state", signer)
    open_layout(one.state, "test")
    try:
        assert one.apply() == [Action.START]
        wait_until(lambda: httpx.get(one.url + "/health", verify=one.trust).status_code == 200, "the gateway answers")
        one.push(backends("only").port, endpoint)
        assert one.get() == 200
        yield one
    finally:
        LocalDriver(open_layout(one.state, "test"), (), python=Path(sys.executable)).stop()
        shutil.rmtree(home)


def _file(text: bytes, wrong: bytes) -> Callable[[Part], Part]:
    """Changes nginx.conf: `text` becomes `wrong`."""

    def change(part: Part) -> Part:
        content = part.files["etc/gateway/nginx.conf"]
        assert text in content
        return replace(part, files={**part.files, "etc/gateway/nginx.conf": content.replace(text, wrong, 1)})

    return change


def test_changed_files_are_a_reload_and_equal_ones_are_nothing(driven: Driven) -> None:
    master, workers = driven.master(), driven.workers()
    assert driven.apply() == []
    driven.document["services"]["memory"]["balance"] = "round_robin"
    assert driven.apply() == [Action.RELOAD]
    assert driven.apply() == []
    assert driven.master() == master
    assert driven.workers() - workers
    assert '"balance": "round_robin"' in (driven.state / "etc" / "gateway" / "policy.json").read_text()
    assert driven.get() == 200  # keys, endpoints and revocations outlive it
    assert "gateway_config_last_reload_successful 1" in driven.metrics()


def test_what_needs_a_restart_is_one(driven: Driven, wait_until: Any) -> None:
    master = driven.master()
    assert driven.apply(lambda part: replace(part, version="9.9")) == [Action.RESTART]
    wait_until(lambda: driven.get("/health") == 200, "the gateway answers again")
    assert driven.master() != master


def test_a_configuration_that_nginx_refuses_never_replaces_the_good_one(driven: Driven) -> None:
    good, workers = (driven.state / "etc" / "gateway" / "nginx.conf").read_bytes(), driven.workers()
    with pytest.raises(RagridError, match=r"old one stays in force: unknown directive .nonsense."):
        driven.apply(_file(b"gzip off;", b"nonsense on;"))
    assert (driven.state / "etc" / "gateway" / "nginx.conf").read_bytes() == good
    assert driven.workers() == workers
    assert driven.get() == 200
    assert "gateway_config_last_reload_successful 0" in driven.metrics()
    assert driven.apply() == []
    driven.document["services"]["memory"]["balance"] = "round_robin"
    assert driven.apply() == [Action.RELOAD]
    assert "gateway_config_last_reload_successful 1" in driven.metrics()


def test_an_address_that_is_taken_never_replaces_the_good_one(driven: Driven, backends: Any) -> None:
    """`nginx -t` does not see that somebody else listens; the old configuration must be back, on disk as well."""
    good, taken = (driven.state / "etc" / "gateway" / "nginx.conf").read_bytes(), backends("stranger").port
    change = _file(b"location = /healthz", b"location = /taken-%d" % taken)
    listen = _file(b"access_log off;", b"access_log off; listen 127.0.0.1:%d;" % taken)
    with pytest.raises(RagridError, match=rf"bind\(\) to 127.0.0.1:{taken} failed"):
        driven.apply(lambda part: listen(change(part)))
    assert (driven.state / "etc" / "gateway" / "nginx.conf").read_bytes() == good
    assert driven.get() == 200
    assert "gateway_config_last_reload_successful 0" in driven.metrics()


def test_a_stream_outlives_a_reload(driven: Driven, backends: Any, endpoint: Any) -> None:
    """It was begun by a worker that takes no more requests, and that worker ends it."""
    backend = backends("streams")
    driven.document["services"]["memory"]["balance"] = "round_robin"
    services = {"vllm": ServiceState(endpoints=(endpoint(backend.port),))}
    socket = driven.state / "run" / "gateway-admin.sock"
    state = GatewayState(
        version=2, keys=keys_from_jwks(driven.signer.jwks()), services=services, roles=dict(BUILTIN_ROLES),
        revoked=Revocations(),
    )  # fmt: skip
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
        assert client.put("http://edge/state", content=dump_state(state)).status_code == 200
    url = driven.url + "/v1/chat/completions"
    with httpx.stream("POST", url, headers=driven.bearer(), verify=driven.trust, timeout=20) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 0"
        assert driven.apply() == [Action.RELOAD]
        backend.go_on.set()
        assert [line for line in lines if line] == [f"data: {number}" for number in range(1, 10)]


def _give(driven: Driven, directory: Path, *, name: str = "127.0.0.1", now_s: float | None = None) -> KeyPair:
    """Put a certificate of one's own into the grid's files; return it."""
    authority = make_authority("a company", now_s=time.time())
    pair = make_leaf(authority, "edge", [name], now_s=now_s or time.time())
    paths = {key: directory / f"{key}.pem" for key in ("certificate", "key", "authority")}
    for key, content in (("certificate", pair.certificate), ("key", pair.key), ("authority", authority.certificate)):
        paths[key].write_bytes(content)
    driven.document["gateway"]["tls"] = {"mode": "files", **{key: str(path) for key, path in paths.items()}}
    return pair


def test_a_certificate_of_ones_own_is_served_and_renewed(driven: Driven, tmp_path: Path) -> None:
    for _ in range(2):
        pair = _give(driven, tmp_path)
        assert driven.apply() == [Action.RELOAD]
        assert _served(driven).strip() == pair.certificate.decode().strip()
        trust = ssl.create_default_context(cafile=str(driven.site().gateway_authority))
        assert httpx.get(driven.url + READ, headers=driven.bearer(), verify=trust).status_code == 200
    del driven.document["gateway"]["tls"]  # and back again
    assert driven.apply() == [Action.RELOAD]
    assert driven.get() == 200


def test_a_certificate_that_cannot_be_used_leaves_the_good_one(driven: Driven, tmp_path: Path) -> None:
    good = _give(driven, tmp_path)
    driven.apply()
    stranger = make_leaf(make_authority("x", now_s=time.time()), "x", ["x"], now_s=time.time())
    long_ago_s = time.time() - 400 * 86400
    spoilt: dict[str, Callable[[], object]] = {
        "key: got that of another certificate": lambda: (tmp_path / "key.pem").write_bytes(stranger.key),
        "certificate: got no certificate": lambda: (tmp_path / "certificate.pem").write_bytes(b"nonsense"),
        "key: got no private key": lambda: (tmp_path / "key.pem").write_bytes(b"nonsense"),
        "key: .*No such file": (tmp_path / "key.pem").unlink,
        "certificate: got one that is good from": lambda: _give(driven, tmp_path, now_s=long_ago_s),
        "certificate: got one for other names": lambda: _give(driven, tmp_path, name="other.test"),
    }
    trust = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    for message, spoil in spoilt.items():
        _give(driven, tmp_path)
        spoil()
        with pytest.raises(StateError, match=f"gateway.tls.{message}"):
            driven.apply()
        assert _served(driven).strip() == good.certificate.decode().strip(), message
    assert httpx.get(driven.url + "/health", verify=trust).status_code == 200


def _served(driven: Driven) -> str:
    port = driven.document["gateway"]["https"]
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_certificates_are_renewed_without_a_lost_request(driven: Driven) -> None:
    """Each request has a connection of its own; the counting is the test's."""
    outcomes: collections.Counter[str] = collections.Counter()
    stop, bearer, trust = threading.Event(), driven.bearer(), driven.trust

    def load() -> None:
        while not stop.is_set():
            try:
                with httpx.Client(verify=trust, headers=bearer, timeout=20) as client:
                    outcomes[str(client.get(driven.url + READ).status_code)] += 1
            except httpx.HTTPError as error:
                outcomes[repr(error)] += 1

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = {_served(driven)}
    try:
        for _ in range(3):
            (driven.state / "secrets" / "gateway.crt").unlink()  # what is missing is made anew, as what is too old is
            assert driven.apply() == [Action.RELOAD]
            seen.add(_served(driven))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(seen) == 4
    assert set(outcomes) == {"200"}, outcomes
    assert outcomes["200"] > 50
