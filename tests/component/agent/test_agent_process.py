"""The agent against a real etcd and real parts that are killed, hung and brought back."""

import asyncio
import dataclasses
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ragrid.registry.protocol import Instance, Registry
from ragrid.spec.settings import AgentSettings, Check, Listen
from support.agent_rig import AgentProcess, HttpPart, eventually
from support.registry_servers import Server, free_ports

MEMORY = ["memory-sark"]


async def test_healthy_instance_is_registered_as_it_is(agent: AgentProcess, part: HttpPart, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    wanted = Instance("memory", "memory-sark", "127.0.0.1", part.port, version="0.1.0")
    (found,) = (await registry.list()).instances
    assert dataclasses.replace(found, meta={}) == wanted
    assert found.meta["agent"].startswith("sark/")


async def test_killed_instance_is_taken_out_and_comes_back(
    agent: AgentProcess, part: HttpPart, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    part.end(signal.SIGKILL)
    await agent.sees(registry, [])
    part.start()
    await agent.sees(registry, MEMORY)


async def test_hung_instance_is_taken_out(agent: AgentProcess, part: HttpPart, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    part.signal(signal.SIGSTOP)
    await agent.sees(registry, [])
    part.signal(signal.SIGCONT)
    await agent.sees(registry, MEMORY)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_with_the_usual_check_a_dead_instance_leaves_the_registry(
    tmp_path: Path,
    settings: AgentSettings,
    part: HttpPart,
    registry: Registry,
    record_property: Callable[[str, object], None],
    number: int,
) -> None:
    """As a grid has it: a check every 2 s, 2 s for an answer, two failures. How long it took is the test's property."""
    usual = msgspec.structs.replace(settings.instances[0], check=Check(kind="http", path="/healthz"))
    agent = AgentProcess(tmp_path, msgspec.structs.replace(settings, instances=(usual,), lease_s=10.0))
    try:
        agent.start()
        await agent.sees(registry, MEMORY)
        part.signal(number)
        began_s = time.monotonic()
        await agent.sees(registry, [])
        record_property("detected_s", round(time.monotonic() - began_s, 2))
    finally:
        agent.stop()


async def test_instance_that_answers_wrongly_is_taken_out_and_the_status_says_why(
    agent: AgentProcess, part: HttpPart, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    part.page.unlink()
    await agent.sees(registry, [])

    async def told() -> bool:
        status = await agent.status()
        one = status.instances[0] if status else None
        return bool(one and one.health == "unhealthy" and not one.registered and "got status 404" in one.last_error)

    await eventually(told, agent.tell)


async def test_lease_is_renewed_far_beyond_its_time(agent: AgentProcess, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    before = (await registry.list()).index
    renewed = 0

    async def outlived() -> bool:
        nonlocal renewed
        renewed += 1
        return renewed > 100  # 5 s, more than a lease of 3 s

    await eventually(outlived, agent.tell)
    assert (await registry.list()).index == before  # never gone and registered again meanwhile


async def test_registry_killed_and_back_empty_is_filled_again(
    agent: AgentProcess, etcd: Server, registry: Registry, tmp_path: Path
) -> None:
    await agent.sees(registry, MEMORY)
    with etcd.signalled(signal.SIGKILL):

        async def noticed() -> bool:
            status = await agent.status()
            return bool(status and status.registry.up is False and status.instances[0].health == "healthy")

        await eventually(noticed, agent.tell)
        assert "ragrid_registry_up 0.0" in await agent.page("/metrics")
        (tmp_path / "etcd").rename(tmp_path / "lost")
    await agent.sees(registry, MEMORY)

    async def told() -> bool:
        return "ragrid_registry_up 1.0" in await agent.page("/metrics")

    await eventually(told, agent.tell)


async def test_registry_that_is_dead_at_the_start_is_waited_for(
    agent: AgentProcess, etcd: Server, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    agent.end(signal.SIGTERM)
    with etcd.signalled(signal.SIGKILL):
        agent.start()

        async def ready() -> bool:
            status = await agent.status()
            return bool(status and status.registry.up is False and status.instances[0].health == "healthy")

        await eventually(ready, agent.tell)
    await agent.sees(registry, MEMORY)


async def test_sigterm_takes_the_instances_out_and_ends_cleanly(agent: AgentProcess, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    assert agent.end(signal.SIGTERM) == 0
    assert (await registry.list()).instances == ()
    status = await agent.status()
    assert status is not None
    assert status.stopping


async def test_sigterm_with_a_dead_registry_ends_too(agent: AgentProcess, etcd: Server, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    with etcd.signalled(signal.SIGSTOP):
        assert agent.end(signal.SIGTERM) == 0


async def test_killed_agent_leaves_nothing_once_its_lease_has_ended(agent: AgentProcess, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    agent.end(signal.SIGKILL)
    await agent.sees(registry, [])


async def test_restarted_agent_takes_over_without_a_double(agent: AgentProcess, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)
    agent.end(signal.SIGKILL)
    agent.start()

    async def taken_over() -> bool:
        status = await agent.status()
        assert agent.process is not None
        return bool(status and status.pid == agent.process.pid and status.instances[0].registered)

    await eventually(taken_over, agent.tell)
    assert [one.instance_id for one in (await registry.list()).instances] == MEMORY


async def test_two_agents_never_fight_over_one_instance(
    agent: AgentProcess, part: HttpPart, registry: Registry, tmp_path: Path
) -> None:
    """The second observes for longer than any lease, and takes over when the first is dead and its lease has ended."""
    await agent.sees(registry, MEMORY)
    first = (await registry.list()).instances
    listen = Listen(port=free_ports(1)[0])
    settings = msgspec.structs.replace(
        agent.settings, host_name="clu", listen=listen, status_file=tmp_path / "clu" / "status.json"
    )
    (tmp_path / "clu").mkdir()
    other = AgentProcess(tmp_path / "clu", settings)
    try:
        other.start()

        async def observes() -> bool:
            status = await other.status()
            one = status.instances[0] if status else None
            return bool(one and one.owner == first[0].meta["agent"] and one.health == "healthy")

        await eventually(observes, other.tell)
        before = (await registry.list()).index
        await asyncio.sleep(2 * settings.lease_s)
        assert (await registry.list()).index == before  # nobody wrote anything
        page = await other.page("/metrics")
        assert 'ragrid_instance_owned_elsewhere{instance="memory-sark",part="memory"} 1.0' in page
        assert other.tell().count("another agent holds this instance") == 1
        agent.end(signal.SIGKILL)

        async def taken_over() -> bool:
            found = (await registry.list()).instances
            return bool(found) and found[0].meta["agent"].startswith("clu/")

        await eventually(taken_over, other.tell)
        agent.start()  # the one that was dead does not take it back

        async def stands_back() -> bool:
            status = await agent.status()
            return bool(status and status.instances[0].owner.startswith("clu/"))

        await eventually(stands_back, agent.tell)
    finally:
        other.stop()


async def test_second_agent_with_the_same_settings_refuses_to_start(
    agent: AgentProcess, registry: Registry, tmp_path: Path
) -> None:
    await agent.sees(registry, MEMORY)
    listen = Listen(port=free_ports(1)[0])
    (tmp_path / "double").mkdir()
    double = AgentProcess(tmp_path / "double", msgspec.structs.replace(agent.settings, listen=listen))
    double.start()
    assert double.process is not None
    assert double.process.wait(timeout=30) == 4
    assert "another agent runs with these settings" in double.tell()


async def test_pages_tell_what_the_agent_knows(agent: AgentProcess, registry: Registry) -> None:
    await agent.sees(registry, MEMORY)

    async def shown() -> bool:
        return 'ragrid_instance_registered{instance="memory-sark",part="memory"} 1.0' in await agent.page("/metrics")

    await eventually(shown, agent.tell)
    assert json.loads((await agent.page("/healthz")).removeprefix("200 ")) == {"status": "alive"}
    assert json.loads((await agent.page("/readyz")).removeprefix("200 "))["ready"] is True
    page = await agent.page("/metrics")
    assert 'ragrid_instance_up{instance="memory-sark",part="memory"} 1.0' in page
    assert 'ragrid_check_failures_total{instance="memory-sark",part="memory"}' in page
    assert 'ragrid_check_seconds_bucket{instance="memory-sark",le="0.5",part="memory"}' in page


async def test_exporter_page_shows_the_part_and_its_process(
    agent: AgentProcess, part: HttpPart, registry: Registry
) -> None:
    await agent.sees(registry, MEMORY)
    page = await agent.page("/metrics/memory")
    assert page.startswith("200")
    assert 'ragrid_part_up{part="memory"} 1.0' in page
    assert 'ragrid_canary_seconds_count{instance="memory-sark",part="memory"}' in page
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"):
        assert f'ragrid_part_{name}{{instance="memory-sark",part="memory"}}' in page
    part.end(signal.SIGKILL)
    await agent.sees(registry, [])
    page = await agent.page("/metrics/memory")
    assert 'ragrid_part_up{part="memory"} 0.0' in page
    assert "ragrid_part_open_fds{" not in page
    assert (await agent.page("/metrics/nothing")).startswith("404")


@pytest.mark.parametrize("content", [b"", b"{", b'{"host_name": 1}'])
def test_bad_settings_are_refused_in_one_line(tmp_path: Path, agent: AgentProcess, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    other = AgentProcess.__new__(AgentProcess)
    other.command = [*agent.command[:-1], str(tmp_path / "bad.json")]
    other.log = tmp_path / "bad.log"
    other.start()
    assert other.process is not None
    assert other.process.wait(timeout=30) == 1
    assert "Traceback" not in other.log.read_text()
    assert "AgentSettings" in other.log.read_text()
