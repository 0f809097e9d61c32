"""The controller between a real etcd, a key server and a real nginx."""

import asyncio
import contextlib
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from joserfc.jwk import ECKey
from prometheus_client import generate_latest
from starlette.applications import Starlette

from ragrid.gateway.controller import Controller, build
from ragrid.gateway.controller_web import controller_routes
from ragrid.gateway.state import parse_state
from ragrid.identity.revocations import RevocationFile
from ragrid.identity.roles import BUILTIN_ROLES
from ragrid.registry.memory import MemoryRegistry
from ragrid.registry.open import open_registry
from ragrid.registry.protocol import Instance
from ragrid.spec.settings import ControllerSettings, Listen, RegistryAddress
from ragrid.system.clock import SystemClock
from ragrid.system.process import find_program
from support import after_kill

READ = "/memory/v1/collections/c/records/1"
#: A route that needs an :admin permission.
ADMINISTRATION = "/tokens/v1/clients"


@dataclass
class KeyServer:
    """Answers as the token service does on its private port."""

    jwks: bytes
    revoked: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def start(self) -> None:
        keys = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = keys.jwks if "jwks" in self.path else json.dumps({"revoked": keys.revoked}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def key_server(signer: Any) -> Iterator[KeyServer]:
    server = KeyServer(signer.jwks())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(short_directory: Path, key_server: KeyServer) -> ControllerSettings:
    policy = short_directory / "roles.json"
    policy.write_text(json.dumps({"roles": BUILTIN_ROLES}))
    return ControllerSettings(
        registry=RegistryAddress(kind="etcd", url="http://127.0.0.1:1", namespace="test"),
        token_services=(f"http://127.0.0.1:{key_server.port}",),
        admin_socket=short_directory / "run" / "admin.sock",
        state_file=short_directory / "state.json",
        jwks_file=short_directory / "jwks.json",
        revocations_file=short_directory / "revocations.json",
        policy_file=policy,
        listen=Listen(port=1),
    )


Running = Callable[..., contextlib.AbstractAsyncContextManager[Controller]]


@pytest.fixture
def running(settings: ControllerSettings) -> Running:
    @contextlib.asynccontextmanager
    async def run(registry: Any) -> AsyncIterator[Controller]:
        controller = Controller(settings, registry=registry, clock=SystemClock())
        task = asyncio.create_task(controller.run())
        try:
            yield controller
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return run


async def until(claim: Callable[[], bool], deadline_s: float = 15.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(deadline_s):
        while not claim():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)


async def becomes(edge: Any, status: int, bearer: dict[str, str], path: str = READ, deadline_s: float = 15.0) -> None:
    """Wait until the edge answers with `status`."""
    async with asyncio.timeout(deadline_s):
        while await get(edge, bearer, path) != status:  # noqa: ASYNC110 - a push has no event
            await asyncio.sleep(0.02)


async def get(edge: Any, bearer: dict[str, str], path: str = READ) -> int:
    """Return the status of one request."""
    async with httpx.AsyncClient() as client:
        return (await client.get(edge.url + path, headers=bearer)).status_code


async def is_served_by(edge: Any, name: str, deadline_s: float = 15.0) -> None:
    """Wait until the backend `name` answers."""
    seen = ""
    async with asyncio.timeout(deadline_s), httpx.AsyncClient() as client:
        while seen != name:
            answer = await client.get(edge.url + READ, headers=edge.signer.bearer())
            assert answer.status_code == 200
            seen = answer.json()["backend"]
            await asyncio.sleep(0.02)


def instance(port: int, **changes: Any) -> Instance:
    return replace(Instance("memory", f"m{port}", "127.0.0.1", port), **changes)


async def test_an_instance_that_registers_is_served_and_the_state_is_kept(
    edges: Any, backends: Any, running: Running, settings: ControllerSettings
) -> None:
    edge, backend, registry = edges(), backends(), MemoryRegistry(clock=SystemClock())
    async with running(registry):
        await registry.register(instance(backend.port), ttl_s=60)
        await becomes(edge, 200, edge.signer.bearer())
    kept = parse_state(settings.state_file.read_bytes())
    assert [one.port for one in kept.services["memory"].endpoints] == [backend.port]
    assert settings.state_file.stat().st_mode & 0o777 == 0o600
    assert json.loads(settings.jwks_file.read_bytes()) == json.loads(edge.signer.jwks())
    edge.stop()
    edge.start()  # from the file alone
    await is_served_by(edge, "b")


async def test_dead_registry_and_token_service_change_nothing(
    edges: Any, backends: Any, running: Running, key_server: KeyServer
) -> None:
    edge, registry = edges(), MemoryRegistry(clock=SystemClock())
    async with running(registry) as controller:
        await registry.register(instance(backends().port), ttl_s=60)
        await becomes(edge, 200, edge.signer.bearer())
        version = controller.last.version if controller.last else 0
        registry.reachable = False
        key_server.stop()
        await asyncio.sleep(3)
        assert controller.last is not None
        assert controller.last.version == version
        edge.stop()
        edge.start()
        await becomes(edge, 200, edge.signer.bearer())
        assert controller.accepted_ago_s() is not None
    # a new life of the controller, still with nobody to ask
    dead = MemoryRegistry(clock=SystemClock())
    dead.reachable = False
    async with running(dead) as controller:
        await asyncio.sleep(1)
        assert controller.last is not None
        await is_served_by(edge, "b")
    key_server.start()


async def test_without_a_token_service_administration_closes_and_reads_go_on(
    edges: Any, backends: Any, running: Running, key_server: KeyServer
) -> None:
    """The controller goes on sending what it knows; that does not make it new."""
    edge, registry = edges(state_age_limit_s=4), MemoryRegistry(clock=SystemClock())
    bearer = edge.signer.bearer()
    async with running(registry) as controller:
        for name in ("memory", "tokens"):
            await registry.register(instance(backends(name).port, service=name), ttl_s=60)
        await becomes(edge, 200, bearer)
        await becomes(edge, 200, bearer, ADMINISTRATION)
        key_server.stop()
        await becomes(edge, 503, bearer, ADMINISTRATION)
        assert await get(edge, bearer) == 200
        assert controller.accepted_ago_s() is not None
        key_server.start()
        await becomes(edge, 200, bearer, ADMINISTRATION)
    # a new life of the controller knows a state from its disk, and not whether it still holds
    edge.stop()
    edge.start()
    key_server.stop()
    async with running(registry) as controller:
        await until(lambda: controller.accepted_ago_s() is not None)
        assert (await get(edge, bearer, ADMINISTRATION), await get(edge, bearer)) == (503, 200)
    key_server.start()


async def test_an_empty_registry_empties_no_pool(edges: Any, backends: Any, running: Running) -> None:
    edge, registry = edges(), MemoryRegistry(clock=SystemClock())
    async with running(registry) as controller:
        await registry.register(instance(backends().port), ttl_s=60)
        await becomes(edge, 200, edge.signer.bearer())
        registry.lose_everything()
        await asyncio.sleep(2)
        assert controller.view.kept == {"memory"}
        await is_served_by(edge, "b")
        another = backends("another")
        await registry.register(instance(another.port), ttl_s=60)
        await is_served_by(edge, "another")


async def test_keys_roles_and_revocations_follow_their_sources(
    edges: Any, backends: Any, running: Running, key_server: KeyServer, settings: ControllerSettings
) -> None:
    edge, registry = edges(), MemoryRegistry(clock=SystemClock())
    old = edge.signer.bearer(jti="old")
    async with running(registry):
        await registry.register(instance(backends().port), ttl_s=60)
        await becomes(edge, 200, old)
        key_server.revoked = [{"jti": "old", "exp": 4_000_000_000}]
        await becomes(edge, 401, old)
        ours = RevocationFile(settings.revocations_file, SystemClock())  # what our services read
        await until(lambda: set(ours.revoked.tokens) == {"old"})
        assert settings.revocations_file.stat().st_mode & 0o777 == 0o600
        last_s = settings.revocations_file.stat().st_mtime
        await until(lambda: settings.revocations_file.stat().st_mtime > last_s)  # confirmed, though nothing changed
        assert ours.age_s() < 10
        key_server.revoked = []
        await becomes(edge, 200, old)
        await until(lambda: not ours.revoked.tokens)
        settings.policy_file.write_text('{"roles": {}}')
        await becomes(edge, 403, old)
        settings.policy_file.write_text("{ half a file")  # the last good roles stay
        await asyncio.sleep(1.5)
        await becomes(edge, 403, old)
        settings.policy_file.write_text(json.dumps({"roles": BUILTIN_ROLES}))
        await becomes(edge, 200, old)
        edge.signer.key = ECKey.generate_key("P-256", {"alg": "ES256"}, auto_kid=True)
        key_server.jwks = edge.signer.jwks()
        await becomes(edge, 401, old)
        await becomes(edge, 200, edge.signer.bearer())
        assert json.loads(settings.jwks_file.read_bytes()) == json.loads(edge.signer.jwks())
        key_server.jwks = b'{"keys": []}'  # nonsense withdraws nothing
        await asyncio.sleep(1.5)
        await becomes(edge, 200, edge.signer.bearer())


async def test_any_token_service_tells_what_is_revoked(
    edges: Any, backends: Any, key_server: KeyServer, settings: ControllerSettings
) -> None:
    second = KeyServer(key_server.jwks)
    second.start()
    both = tuple(f"http://127.0.0.1:{one.port}" for one in (key_server, second))
    edge, registry = edges(), MemoryRegistry(clock=SystemClock())
    controller = Controller(
        msgspec.structs.replace(settings, token_services=both), registry=registry, clock=SystemClock()
    )
    task = asyncio.create_task(controller.run())
    try:
        await registry.register(instance(backends().port), ttl_s=60)
        bearers = {name: edge.signer.bearer(jti=name) for name in ("a", "b")}
        await becomes(edge, 200, bearers["a"])
        key_server.stop()  # the one that was asked so far
        second.revoked = [{"jti": "a", "exp": 4_000_000_000}]
        await becomes(edge, 401, bearers["a"])
        key_server.start()
        key_server.revoked = [*second.revoked, {"jti": "b", "exp": 4_000_000_000}]
        second.jwks = b'{"keys": []}'  # it answers, and what it says is nothing
        await becomes(edge, 401, bearers["b"])
        assert (await get(edge, bearers["a"])) == 401
        assert 'reachable{what="keys"} 1.0' in generate_latest(controller.metrics.registry).decode()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        second.stop()


async def test_a_disk_that_takes_nothing_holds_nothing_back(
    edges: Any, backends: Any, key_server: KeyServer, settings: ControllerSettings, short_directory: Path
) -> None:
    (short_directory / "full").write_text("no directory")
    names = ("jwks_file", "revocations_file", "state_file")
    nowhere = {name: short_directory / "full" / f"{name}.json" for name in names}
    edge, registry = edges(), MemoryRegistry(clock=SystemClock())
    controller = Controller(msgspec.structs.replace(settings, **nowhere), registry=registry, clock=SystemClock())
    task = asyncio.create_task(controller.run())
    try:
        await registry.register(instance(backends().port), ttl_s=60)
        bearer = edge.signer.bearer(jti="old")
        await becomes(edge, 200, bearer)
        key_server.revoked = [{"jti": "old", "exp": 4_000_000_000}]
        await becomes(edge, 401, bearer, deadline_s=4.0)  # it asks each second
        figures = generate_latest(controller.metrics.registry).decode()
        assert 'gateway_controller_reachable{what="revocations_file.json"} 0.0' in figures
        assert 'gateway_controller_reachable{what="keys"} 1.0' in figures
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_controller_that_lost_its_file_goes_on_after_the_version_in_force(
    edges: Any, backends: Any, endpoint: Any, running: Running
) -> None:
    edge, registry, backend = edges(), MemoryRegistry(clock=SystemClock()), backends()
    edge.version = 500
    edge.push({"memory": [endpoint(1)]})
    async with running(registry) as controller:
        await registry.register(instance(backend.port), ttl_s=60)
        await becomes(edge, 200, edge.signer.bearer())
        assert controller.last is not None
        assert controller.last.version > 501


async def test_ready_means_that_nginx_took_the_state(edges: Any, backends: Any, running: Running) -> None:
    registry = MemoryRegistry(clock=SystemClock())
    async with running(registry) as controller:
        application = Starlette(routes=controller_routes())
        application.state.controller = controller
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://controller") as client:
            assert (await client.get("/healthz")).status_code == 200
            await asyncio.sleep(1)
            assert (await client.get("/readyz")).status_code == 503  # there is no nginx
            edge = edges()
            await registry.register(instance(backends().port), ttl_s=60)
            await becomes(edge, 200, edge.signer.bearer())
            assert (await client.get("/readyz")).json()["status"] == "ready"
            figures = (await client.get("/metrics")).text
            assert 'gateway_controller_reachable{what="nginx"} 1.0' in figures
            assert 'gateway_controller_reachable{what="registry"} 1.0' in figures


@pytest.fixture
def etcd(ports: Any, tmp_path: Path, wait_until: Any) -> Iterator[str]:
    """A real etcd; gives its URL."""
    client, peer = (f"http://127.0.0.1:{port}" for port in ports(2))
    command = (
        *(
            str(find_program("etcd", package="etcd-server")),
            "--data-dir",
            str(tmp_path / "etcd"),
            "--log-level",
            "error",
        ),
        *("--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer),
        *("--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    )
    process = after_kill.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: httpx.get(f"{client}/health").json()["health"] == "true", "etcd", 20.0)
        yield client
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(tmp_path / "etcd", ignore_errors=True)


async def test_with_a_real_etcd_changes_reach_nginx(
    edges: Any, backends: Any, etcd: str, settings: ControllerSettings
) -> None:
    """The whole process as it is started, apart from its listening socket."""
    edge, first, second = edges(), backends("first"), backends("second")
    address = RegistryAddress(kind="etcd", url=etcd, namespace="test")
    changed = ControllerSettings(
        **{**{name: getattr(settings, name) for name in settings.__struct_fields__}, "registry": address}
    )
    application, listen = build(changed)
    assert listen == settings.listen
    registry = open_registry(address, clock=SystemClock())
    assert isinstance(application, Starlette)
    async with application.router.lifespan_context(application):
        lease = await registry.register(instance(first.port), ttl_s=60)
        await becomes(edge, 200, edge.signer.bearer())
        await registry.register(instance(second.port), ttl_s=60)
        await registry.deregister(lease)
        await is_served_by(edge, "second")
    await registry.close()
