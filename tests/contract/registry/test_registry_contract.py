"""One meaning for every registry: memory, etcd and Consul pass the same suite."""

import asyncio
import contextlib
import dataclasses
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import httpx
import pytest

from ragrid.errors import ConflictError, LeaseLostError, UnreachableError, UsageError
from ragrid.registry.confirm import CONFIRM_S, ConfirmedView, observe
from ragrid.registry.protocol import Instance, Registry, Snapshot
from support.registry_product import Product

#: No single wait in this suite lasts longer, seconds; a passing one is over in a fraction of it.
PATIENCE_S = 30.0

T = TypeVar("T")


def instance(number: int = 1, *, service: str = "chromadb", **changes: object) -> Instance:
    one = Instance(service, f"{service}-{number}", "127.0.0.1", 8000 + number, version="1.5.9", meta={"host": "sark"})
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]  # the members vary by test


async def eventually(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def watching(registry: Registry, after: int) -> AsyncIterator[asyncio.Queue[Snapshot | Exception]]:
    """Collect what a watch yields, and the error that ends it."""
    seen: asyncio.Queue[Snapshot | Exception] = asyncio.Queue()

    async def collect() -> None:
        try:
            async for snapshot in registry.watch(after):
                seen.put_nowait(snapshot)
        except UnreachableError as error:
            seen.put_nowait(error)

    task = asyncio.create_task(collect())
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def next_of(seen: asyncio.Queue[Snapshot | Exception]) -> Snapshot:
    async with asyncio.timeout(PATIENCE_S):
        got = await seen.get()
    assert isinstance(got, Snapshot), got
    return got


async def watched_until(seen: asyncio.Queue[Snapshot | Exception], wanted: tuple[Instance, ...]) -> Snapshot:
    while True:
        snapshot = await next_of(seen)
        if snapshot.instances == wanted:
            return snapshot


async def test_empty_namespace_lists_nothing(registry: Registry) -> None:
    assert (await registry.list()).instances == ()


async def test_registered_instances_are_listed_in_order_with_every_member(registry: Registry) -> None:
    wanted = [
        instance(1, service="chromadb", weight=3, draining=True, meta={"zone": "ä", "note": "x" * 2000}),
        instance(2, service="chromadb"),
        instance(1, service="memory", version=""),
    ]
    for one in reversed(wanted):
        lease = await registry.register(one, ttl_s=30)
        assert lease.instance == one
        assert lease.ttl_s >= 30
    assert list((await registry.list()).instances) == wanted


async def test_registering_again_replaces_and_ends_the_first_lease(registry: Registry) -> None:
    first = await registry.register(instance(), ttl_s=30)
    second = await registry.register(instance(port=9000), ttl_s=30)
    assert (await registry.list()).instances == (instance(port=9000),)
    with pytest.raises(LeaseLostError):
        await registry.renew(first)
    await registry.deregister(first)
    await registry.renew(second)
    assert (await registry.list()).instances == (instance(port=9000),)


async def test_deregistered_is_gone_and_deregistering_again_is_no_error(registry: Registry) -> None:
    lease = await registry.register(instance(1), ttl_s=30)
    await registry.register(instance(2), ttl_s=30)
    await registry.deregister(lease)
    assert (await registry.list()).instances == (instance(2),)
    await registry.deregister(lease)
    with pytest.raises(LeaseLostError):
        await registry.renew(lease)


async def test_lease_that_is_not_renewed_expires_while_a_renewed_one_lives_on(registry: Registry) -> None:
    kept = await registry.register(instance(1), ttl_s=2)
    lost = await registry.register(instance(2), ttl_s=2)

    async def only_kept() -> bool:
        await registry.renew(kept)
        return (await registry.list()).instances == (instance(1),)

    await eventually(only_kept)
    with pytest.raises(LeaseLostError):
        await registry.renew(lost)
    await registry.deregister(lost)
    assert (await registry.register(instance(2), ttl_s=30)).lease_id != lost.lease_id
    assert instance(2) in (await registry.list()).instances


async def test_index_grows_with_every_change(registry: Registry) -> None:
    indexes = [(await registry.list()).index]
    lease = await registry.register(instance(1), ttl_s=30)
    indexes.append((await registry.list()).index)
    await registry.register(instance(1, port=9001), ttl_s=30)
    indexes.append((await registry.list()).index)
    lease = await registry.register(instance(2), ttl_s=30)
    indexes.append((await registry.list()).index)
    await registry.deregister(lease)
    indexes.append((await registry.list()).index)
    assert indexes == sorted(set(indexes))


async def test_watch_from_zero_yields_what_is_there_at_once(registry: Registry) -> None:
    async with watching(registry, 0) as seen:
        assert (await next_of(seen)).instances == ()


async def test_watch_yields_changes_that_others_make(product: Product, registry: Registry) -> None:
    other = product.open()
    async with watching(registry, (await registry.list()).index) as seen:
        lease = await other.register(instance(1), ttl_s=30)
        await watched_until(seen, (instance(1),))
        await other.register(instance(2), ttl_s=2)
        await watched_until(seen, (instance(1), instance(2)))
        await watched_until(seen, (instance(1),))  # the second lease ran out
        await other.deregister(lease)
        await watched_until(seen, ())
    await other.close()


async def test_watch_resumes_from_an_index_and_may_merge(registry: Registry) -> None:
    start = (await registry.list()).index
    for number in range(1, 6):
        await registry.register(instance(number), ttl_s=30)
    async with watching(registry, start) as seen:
        last = await watched_until(seen, tuple(instance(number) for number in range(1, 6)))
    async with watching(registry, last.index) as seen:
        await registry.register(instance(6), ttl_s=30)
        assert len((await next_of(seen)).instances) == 6


async def test_watch_from_an_index_that_was_never_reached_yields_the_present(registry: Registry) -> None:
    await registry.register(instance(), ttl_s=30)
    async with watching(registry, (await registry.list()).index + 1_000_000) as seen:
        assert (await next_of(seen)).instances == (instance(),)


async def test_get_of_a_missing_key_is_none(registry: Registry) -> None:
    assert await registry.get("gateway/leader") is None


@pytest.mark.parametrize("value", [b"", b"\x00\xff binary", b"x" * 100_000], ids=["empty", "binary", "100 kB"])
async def test_value_is_written_and_read_back(registry: Registry, value: bytes) -> None:
    written = await registry.compare_and_set("state", value, revision=0)
    assert written.revision > 0
    assert await registry.get("state") == written
    assert written.value == value


async def test_compare_and_set_refuses_a_stale_revision(registry: Registry) -> None:
    first = await registry.compare_and_set("state", b"one", revision=0)
    with pytest.raises(ConflictError):
        await registry.compare_and_set("state", b"again", revision=0)
    second = await registry.compare_and_set("state", b"two", revision=first.revision)
    with pytest.raises(ConflictError):
        await registry.compare_and_set("state", b"three", revision=first.revision)
    assert second.revision > first.revision
    assert await registry.get("state") == second


async def test_of_many_writers_with_one_revision_exactly_one_wins(registry: Registry) -> None:
    start = await registry.compare_and_set("state", b"start", revision=0)

    async def write(number: int) -> bool:
        try:
            await registry.compare_and_set("state", str(number).encode(), revision=start.revision)
        except ConflictError:
            return False
        return True

    won = await asyncio.gather(*(write(number) for number in range(8)))
    assert sum(won) == 1
    found = await registry.get("state")
    assert found is not None
    assert found.value == str(won.index(True)).encode()


async def test_values_are_no_instances(registry: Registry) -> None:
    await registry.compare_and_set("services/chromadb/x", b"{}", revision=0)
    assert (await registry.list()).instances == ()


async def test_namespaces_do_not_see_one_another(product: Product, registry: Registry) -> None:
    other = product.open(f"{product.namespace}0")  # begins with the first one's name on purpose
    await registry.register(instance(1), ttl_s=30)
    await registry.compare_and_set("state", b"here", revision=0)
    assert (await other.list()).instances == ()
    assert await other.get("state") is None
    await other.register(instance(2), ttl_s=30)
    assert (await registry.list()).instances == (instance(1),)
    await other.close()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ä", "-a", "a" * 129, "a\n"])
async def test_names_that_a_registry_cannot_keep_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError):
        await registry.register(instance(instance_id=name), ttl_s=30)
    with pytest.raises(UsageError):
        await registry.register(instance(service=name), ttl_s=30)
    assert (await registry.list()).instances == ()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
async def test_unreachable_is_said_in_bounded_time_and_passes(
    product: Product, registry: Registry, signal_number: int
) -> None:
    lease = await registry.register(instance(), ttl_s=30)
    async with watching(registry, (await registry.list()).index) as seen:
        with product.taken_away(signal_number):
            async with asyncio.timeout(PATIENCE_S):
                for call in (registry.list(), registry.renew(lease), registry.register(instance(2), ttl_s=5)):
                    with pytest.raises(UnreachableError):
                        await call
                with pytest.raises(UnreachableError):
                    await registry.compare_and_set("state", b"x", revision=0)
                while not isinstance(ended := await seen.get(), UnreachableError):
                    pass
                assert isinstance(ended, UnreachableError)

    async def serves_again() -> bool:
        try:
            await registry.register(instance(3), ttl_s=30)
        except UnreachableError:
            return False
        return instance(3) in (await registry.list()).instances

    await eventually(serves_again)


@pytest.mark.parametrize("served", ["etcd", "consul"], indirect=True)  # nobody else can write into our own memory
async def test_garbage_is_skipped_with_one_warning(
    product: Product, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    await registry.register(instance(), ttl_s=30)
    wanted = await write_garbage(product)
    with caplog.at_level(logging.WARNING, logger="ragrid"):
        for _ in range(3):
            assert (await registry.list()).instances == (instance(),)
    assert len(caplog.records) == wanted
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def write_garbage(product: Product) -> int:
    """Write what is not ours where ours is, past our own code; return how many."""
    assert product.server is not None
    async with httpx.AsyncClient(base_url=product.server.url, trust_env=False) as client:
        if product.kind == "etcd":
            return await write_etcd_garbage(client, f"/ragrid/{product.namespace}/services/")
        notes = ["", "not json", "{}", '{"lease": "a", "instance": {"host": "h", "port": 0}}']
        ours = '{"lease": "a", "instance": {"host": "h", "port": 80}}'
        ids = [f"ragrid~{product.namespace}~foreign~{number}" for number in range(len(notes))]
        for service_id, note in [*zip(ids, notes, strict=True), (f"other-{product.namespace}", ours)]:
            check = {"Name": "ragrid lease", "Notes": note, "TTL": "1m", "Status": "passing"}
            body = {"ID": service_id, "Name": "foreign", "Tags": [f"ragrid-{product.namespace}"], "Check": check}
            (await client.put("/v1/agent/service/register", json=body)).raise_for_status()

        async def arrived() -> bool:
            path, tag = "/v1/health/service/foreign", f"ragrid-{product.namespace}"
            return len((await client.get(path, params={"tag": tag})).json()) == len(notes) + 1

        await eventually(arrived)
    return len(notes) + 1


async def write_etcd_garbage(client: httpx.AsyncClient, prefix: str) -> int:
    from base64 import b64encode  # noqa: PLC0415 - only here

    garbage = [
        (b"chromadb/a", b""),
        (b"chromadb/b", b"not json"),
        (b"chromadb/c", b'{"host": "h", "port": 0}'),
        (b"chromadb/d", b"[" * 10_000),
        (b"chromadb/e", b'{"host": "h", "port": "80"}'),
        (b"loose", b'{"host": "h", "port": 80}'),
        (b"a/b/c", b'{"host": "h", "port": 80}'),
        (b"\xff\xfe/x", b'{"host": "h", "port": 80}'),
    ]
    for key, value in garbage:
        body = {"key": b64encode(prefix.encode() + key).decode(), "value": b64encode(value).decode()}
        (await client.post("/v3/kv/put", json=body)).raise_for_status()
    return len(garbage)


async def test_three_hundred_instances_with_changes_end_as_exactly_the_wanted_set(
    product: Product, registry: Registry
) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    instances = [instance(number, service=chance.choice(["chromadb", "memory", "rag"])) for number in range(300)]
    leases = dict(enumerate(await in_batches([registry.register(one, ttl_s=60) for one in instances])))
    wanted = dict(enumerate(instances))
    async with watching(registry, (await registry.list()).index) as seen:
        gone = chance.sample(range(300), 60)
        moved = chance.sample([number for number in range(300) if number not in gone], 60)
        await in_batches([registry.deregister(leases[number]) for number in gone])
        for number in gone:
            del wanted[number]
        for number in moved:
            wanted[number] = dataclasses.replace(wanted[number], port=20_000 + number)
        await in_batches([registry.register(wanted[number], ttl_s=60) for number in moved])
        expected = tuple(sorted(wanted.values(), key=lambda one: (one.service, one.instance_id)))
        assert (await registry.list()).instances == expected, f"seed {seed}"
        await watched_until(seen, expected)


async def test_registry_that_comes_back_empty_has_its_leases_ended_and_its_watches_told(
    product: Product, registry: Registry
) -> None:
    """Consul without its data, etcd on a new disk: the index goes backwards, and nobody waits for the old one."""
    leases = await in_batches([registry.register(instance(number), ttl_s=60) for number in range(1, 41)])
    last = await registry.list()
    product.start_anew()
    async with watching(registry, last.index) as seen:
        assert (await next_of(seen)).instances == ()
        present = await registry.list()
        assert present.index < last.index
        for lease in leases[:2]:
            with pytest.raises(LeaseLostError):
                await registry.renew(lease)
        await registry.deregister(leases[0])
        await registry.register(instance(1), ttl_s=60)
        await watched_until(seen, (instance(1),))


async def test_an_empty_answer_is_not_believed_however_often_it_is_given(product: Product, registry: Registry) -> None:
    """The answer is a real one, of each product after it lost everything; only the clock is ours."""
    await registry.register(instance(1), ttl_s=60)
    full = await registry.list()
    view = observe(ConfirmedView(), full, now_s=0.0)
    product.start_anew()
    empty = await registry.list()
    assert empty.instances == ()
    view = observe(view, empty, now_s=1.0)
    assert view.instances == full.instances
    view = observe(view, empty, now_s=CONFIRM_S)
    assert view.instances == full.instances
    await registry.register(instance(2), ttl_s=60)  # somebody is back: believed at once
    assert observe(view, await registry.list(), now_s=CONFIRM_S + 0.5).instances == (instance(2),)
    assert observe(view, empty, now_s=CONFIRM_S + 1.0).instances == full.instances


async def test_thousand_services_with_ten_changes_a_second_end_as_exactly_the_wanted_set(
    product: Product, registry: Registry, record_property: Callable[[str, object], None]
) -> None:
    """For ten seconds: new ports, departures and returns, watched from another client all the while."""
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    wanted = {number: instance(1, service=f"service-{number:04}") for number in range(1000)}
    began_s = time.monotonic()
    leases = dict(enumerate(await in_batches([registry.register(one, ttl_s=120) for one in wanted.values()])))
    registered_s = time.monotonic() - began_s
    watcher = product.open()
    async with watching(watcher, (await registry.list()).index) as seen:
        began_s = time.monotonic()
        for turn in range(100):
            await asyncio.sleep(max(0.0, began_s + turn / 10 - time.monotonic()))
            number = chance.randrange(1000)
            if number in wanted and chance.random() < 0.5:
                await registry.deregister(leases[number])
                del wanted[number]
            else:
                wanted[number] = instance(1, service=f"service-{number:04}", port=10_000 + turn)
                leases[number] = await registry.register(wanted[number], ttl_s=120)
        changed_s = time.monotonic() - began_s
        await watched_until(seen, tuple(wanted[number] for number in sorted(wanted)))
        settled_s = time.monotonic() - began_s - changed_s
    assert (await registry.list()).instances == tuple(wanted[number] for number in sorted(wanted)), f"seed {seed}"
    await watcher.close()
    for name, value in (("registered_s", registered_s), ("changed_s", changed_s), ("settled_s", settled_s)):
        record_property(name, round(value, 3))


async def in_batches(calls: Sequence[Awaitable[T]]) -> list[T]:
    done: list[T] = []
    for start in range(0, len(calls), 20):
        done += await asyncio.gather(*calls[start : start + 20])
    return done
