"""Both clients against the real memory service: what they promise, also when answers get lost on the way."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ragrid.client import (
    ONCE,
    AsyncGridClient,
    GridClient,
    NoAnswerError,
    NotFoundError,
    RefusedError,
    Retry,
    VersionConflictError,
)
from ragrid.errors import UnreachableError, UsageError
from support.http_server import GridServer, Reply, Seen
from support.memory_process import MemoryProcess
from support.registry_servers import free_ports

PATIENT = Retry(attempts=4, first_pause_s=0.01)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryProcess]:
    one = MemoryProcess(tmp_path_factory.mktemp("memory"), free_ports(1)[0])
    one.start()
    yield one
    one.kill()


class LosesAnswers(httpx.BaseTransport):
    """Sends every request on, and loses the first `count` answers."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.sent = 0
        self.inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        self.sent += 1
        if self.left:
            self.left -= 1
            answer.read()
            answer.close()
            raise httpx.ReadError("lost", request=request)
        return answer

    def close(self) -> None:
        self.inner.close()


class AsyncLosesAnswers(httpx.AsyncBaseTransport):
    """The same, for an event loop."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.sent = 0
        self.inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.inner.handle_async_request(request)
        self.sent += 1
        if self.left:
            self.left -= 1
            await answer.aread()
            await answer.aclose()
            raise httpx.ReadError("lost", request=request)
        return answer

    async def aclose(self) -> None:
        await self.inner.aclose()


class Waited:
    """An `AsyncMemories` that is waited for, so that one test speaks to both clients."""

    def __init__(self, memories: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._memories = memories
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._memories, name)
        if not callable(method):
            return Waited(method, self._loop)

        def waited(*positional: Any, **named: Any) -> Any:
            result = method(*positional, **named)
            if hasattr(result, "__aiter__"):
                return iter(self._loop.run_until_complete(_all(result)))
            if asyncio.iscoroutine(result):
                return self._loop.run_until_complete(result)
            return Waited(result, self._loop)

        return waited


async def _all(iterator: Any) -> list[Any]:
    return [one async for one in iterator]


Connect = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Return a function from an address and a token to memories, and the transport that may lose answers."""
    loop = asyncio.new_event_loop()
    opened: list[Any] = []

    def open_one(address: str, token: str, *, lose: int = 0, retry: Retry = PATIENT) -> tuple[Any, Any]:
        if request.param == "sync":
            transport = LosesAnswers(lose)
            opened.append(GridClient(address, token=token, transport=transport, retry=retry))
            return opened[-1].memories, transport
        lossy = AsyncLosesAnswers(lose)
        opened.append(AsyncGridClient(address, token=token, transport=lossy, retry=retry))
        return Waited(opened[-1].memories, loop), lossy

    yield open_one
    for one in opened:
        done = one.close()
        if done is not None:
            loop.run_until_complete(done)
    loop.close()


@pytest.fixture
def memories(connect: Connect, service: MemoryProcess, request: pytest.FixtureRequest) -> Any:
    """The memories of a namespace that no other test has."""
    found, _ = connect(service.url, service.mint.token())
    return found.within(str(abs(hash(request.node.name))))


def test_a_memory_from_its_first_version_to_its_end(memories: Any) -> None:
    tea = memories.create("Ada drinks tea", user_id="ada", tags=["drink"], metadata={"cups": 2})
    assert (tea.version, tea.user_id, tea.tags, tea.metadata) == (1, "ada", ("drink",), {"cups": 2})
    assert memories.refresh(tea) is tea
    green = memories.update(tea.id, if_version=1, importance=0.9, metadata={"cups": None, "kind": "green"})
    assert (green.version, green.content, green.metadata) == (2, "Ada drinks tea", {"kind": "green"})
    assert memories.refresh(tea) == green == memories.get(tea.id)
    memories.delete(tea.id, if_version=2)
    with pytest.raises(NotFoundError):
        memories.get(tea.id)
    assert [(one.op, one.version) for one in memories.history(tea.id)] == [("delete", 3), ("update", 2), ("create", 1)]


def test_conditions(memories: Any) -> None:
    memories.put("tea", "one", if_absent=True)
    with pytest.raises(VersionConflictError) as caught:
        memories.put("tea", "two", if_absent=True)
    assert caught.value.current_version == 1
    assert memories.put("tea", "two", if_version=1).version == 2
    with pytest.raises(VersionConflictError) as caught:
        memories.update("tea", if_version=1, pinned=True)
    assert (caught.value.current_version, caught.value.code) == (2, "version-conflict")
    with pytest.raises(UsageError):
        memories.put("tea", "x", if_version=1, if_absent=True)


def test_a_list_is_walked_to_its_end(memories: Any) -> None:
    made = [memories.put(f"m{number}", "x", tags=["a", f"t{number % 2}"]).id for number in range(205)]
    assert [one.id for one in memories.list()] == made[::-1]
    assert [one.id for one in memories.list(tags=["a", "t1"])] == made[1::2][::-1]


def test_search(memories: Any) -> None:
    memories.put("tea", "green tea at four", user_id="ada")
    memories.put("rice", "green rice", user_id="bob")
    found = memories.search("when is green tea?", k=5)
    assert ([one.memory.id for one in found.results], found.results[0].score) == (["tea", "rice"], 1.0)
    assert [one.memory.id for one in memories.search("green", user_id="bob").results] == ["rice"]


def test_search_by_members_and_comparisons(memories: Any) -> None:
    memories.put("tea", "green tea", importance=0.9, metadata={"cups": 4})
    memories.put("rice", "green rice", importance=0.1)
    where = {
        "and": [{"field": "metadata.cups", "op": "gte", "value": 3}, {"field": "importance", "op": "gt", "value": 0.5}]
    }
    assert [one.memory.id for one in memories.search("green", where=where).results] == ["tea"]
    assert [one.id for one in memories.list(where=where)] == ["tea"]
    [first, *_] = memories.search("green", explain=True, mode="lexical").results
    assert first.explain["bm25"] == 1.0


def test_the_past_comes_back(memories: Any) -> None:
    first = memories.put("tea", "one")
    second = memories.put("tea", "two", if_version=1)
    assert memories.get("tea", version=1).content == "one"
    assert memories.get("tea", as_of=second.updated_at) == second
    assert memories.restore("tea", if_version=2).content == first.content
    memories.delete("tea")
    assert (memories.restore("tea", 2).content, memories.get("tea").version) == ("two", 5)


def test_batches_forgetting_and_statistics(memories: Any) -> None:
    operations = [
        {"op": "create", "memory": {"content": "a", "user_id": "ada"}},
        {"op": "put", "id": "b", "memory": {"content": "b", "user_id": "ada"}},
        {"op": "patch", "id": "none", "patch": {}},
    ]
    assert [one.status for one in memories.batch(operations)] == [201, 201, 404]
    with pytest.raises(RefusedError) as caught:
        memories.batch(operations[2:], atomic=True)
    assert caught.value.code == "batch-refused"
    counted = memories.count_to_forget(user_id="ada")
    assert counted.count == 2
    assert memories.forget(counted) == 2
    assert list(memories.list()) == []
    assert memories.stats().namespaces >= 1


def test_a_conversation_and_a_pack_of_it(memories: Any) -> None:
    chat = memories.session("chat-7")
    first, second = chat.append(
        {"role": "user", "content": "when is tea?"}, {"role": "assistant", "content": "at four"}
    )
    assert (first.index, second.index) == (1, 2)
    assert [one.content for one in chat.messages()] == ["when is tea?", "at four"]
    assert [one.index for one in chat.messages(newest_first=True)] == [2, 1]
    assert chat.put_state({"asked": ["tea"]}).version == 1
    with pytest.raises(VersionConflictError):
        chat.put_state({}, if_version=7)
    assert chat.state().data == {"asked": ["tea"]}
    memories.put("tea", "Ada drinks green tea at four")
    pack = memories.context(500, "tea", session_id="chat-7")
    assert [one.kind for one in pack.items] == ["state", "memory", "message", "message"]
    assert pack.used_tokens <= 500
    [summary] = memories.sessions()
    assert (summary.id, summary.last_index, summary.state_version) == ("chat-7", 2, 1)
    chat.delete()
    with pytest.raises(NotFoundError):
        chat.state()


def test_changes_come_in_order_and_go_on_where_they_ended(memories: Any) -> None:
    memories.put("tea", "one")
    memories.put("tea", "two")
    first, second = memories.changes()
    assert [(one.op, one.memory.content) for one in (first, second)] == [("create", "one"), ("update", "two")]
    assert list(memories.changes(second.seq)) == []
    assert [one.seq for one in memories.changes(first.seq)] == [second.seq]


def test_what_is_exported_is_taken_elsewhere(connect: Connect, service: MemoryProcess, memories: Any) -> None:
    for number in range(7):
        memories.put(f"m{number}", f"fact {number}")
    memories.session("chat").append({"role": "user", "content": "hello"})
    lines = list(memories.export())
    scope = "memory:read memory:write memory:admin"
    keeper, _ = connect(service.url, service.mint.token(scope=scope, tenant=f"copy-{id(connect)}"), lose=1)
    copy = keeper.within("copy")
    done = copy.take(lines)
    assert (done.faulty, done.is_complete, done.lines, done.imported + done.unchanged) == (0, True, 8, 8)
    assert copy.take(lines).imported == 0
    faulty = copy.take([*lines[:3], b'{"kind":"memory"}', *lines[3:]])
    assert (faulty.faulty, faulty.faults[0].line, faulty.is_complete) == (1, 4, False)
    assert [one.id for one in copy.list()] == [f"m{number}" for number in reversed(range(7))]
    assert {one.name: one.memories for one in copy.namespaces.list()} == {"copy": 7}


def test_namespaces_are_kept(connect: Connect, service: MemoryProcess) -> None:
    scope = "memory:read memory:write memory:admin"
    memories, _ = connect(service.url, service.mint.token(scope=scope, tenant=f"keeper-{id(connect)}"))
    made = memories.namespaces.put("demo", require_if_match=True, quota_rows=5, embedder="given")
    assert (made.version, made.require_if_match, made.quota_rows, made.embedder) == (1, True, 5, "given")
    memories.within("demo").put("tea", "x", if_absent=True)
    with pytest.raises(RefusedError) as caught:
        memories.within("demo").put("tea", "y")
    assert caught.value.status == 428
    assert memories.namespaces.get("demo").memories == 1
    memories.namespaces.delete("demo", if_version=1)
    with pytest.raises(NotFoundError):
        memories.namespaces.get("demo")


def test_a_backup_is_followed_to_its_end(connect: Connect, service: MemoryProcess) -> None:
    scope = "memory:read memory:write memory:admin"
    memories, _ = connect(service.url, service.mint.token(scope=scope, tenant=f"keeper-{id(connect)}"))
    job = memories.backup()
    while job.state == "running":
        job = memories.job(job.id)
    assert (job.kind, job.state, job.error) == ("backup", "done", None)
    assert (service.data_directory / "backups" / job.result["name"]).stat().st_size == job.result["bytes"]


def test_what_is_not_valid_is_named_member_by_member(memories: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        memories.create("x", importance=7, nonsense=1)
    assert caught.value.code == "invalid-memory"
    assert [pointer for pointer, _ in caught.value.errors] == ["/importance", "/nonsense"]


def test_a_create_whose_answers_got_lost_makes_one_memory(connect: Connect, service: MemoryProcess) -> None:
    memories, transport = connect(service.url, service.mint.token(tenant="lossy"), lose=3)
    made = memories.create("made once")
    assert transport.sent == 4
    assert made.id in [one.id for one in memories.list()]
    assert [one.version for one in memories.history(made.id)] == [1]


def test_a_plain_put_whose_answer_got_lost_is_not_repeated(connect: Connect, service: MemoryProcess) -> None:
    memories, transport = connect(service.url, service.mint.token(tenant="lossy"), lose=1)
    with pytest.raises(NoAnswerError) as caught:
        memories.put("unconditional", "x")
    assert (caught.value.was_sent, transport.sent) == (True, 1)


def test_a_conditional_put_is_repeated_and_never_done_twice(connect: Connect, service: MemoryProcess) -> None:
    memories, transport = connect(service.url, service.mint.token(tenant=f"lossy-{id(connect)}"), lose=1)
    with pytest.raises(VersionConflictError) as caught:
        memories.put("conditional", "x", if_absent=True)
    assert (caught.value.current_version, transport.sent) == (1, 2)
    assert "may be what did it" in caught.value.__notes__[0]


def test_reads_are_repeated_until_patience_ends(connect: Connect, service: MemoryProcess) -> None:
    memories, transport = connect(service.url, service.mint.token(), lose=9)
    with pytest.raises(UnreachableError):
        list(memories.list())
    assert transport.sent == PATIENT.attempts


def test_a_write_that_never_left_is_sent_again(connect: Connect) -> None:
    memories, transport = connect(f"http://127.0.0.1:{free_ports(1)[0]}", "token")
    with pytest.raises(NoAnswerError) as caught:
        memories.put("tea", "x")
    assert (caught.value.was_sent, transport.sent) == (False, 0)


def test_retry_after_is_kept(connect: Connect, grid: GridServer) -> None:
    def reply(_: Seen) -> Reply:
        if len(grid.seen) == 1:
            return Reply(503, "application/problem+json", (b'{"code":"unavailable"}',), {"retry-after": "0"})
        if len(grid.seen) == 2:
            return Reply(429, "application/problem+json", (b'{"code":"too-many-requests"}',), {"retry-after": "0"})
        return Reply(chunks=(b'{"memories":[],"next_cursor":null}',))

    grid.reply = reply
    memories, _ = connect(grid.address, "token")
    assert list(memories.list()) == []
    assert len(grid.seen) == 3


def test_a_long_retry_after_is_told(connect: Connect, grid: GridServer) -> None:
    problem = b'{"code":"too-many-requests"}'
    grid.reply = lambda _: Reply(429, "application/problem+json", (problem,), {"retry-after": "3600"})
    memories, _ = connect(grid.address, "token")
    with pytest.raises(RefusedError) as caught:
        memories.get("tea")
    assert (caught.value.retry_after_s, len(grid.seen)) == (3600.0, 1)


def test_who_does_not_want_repeats_gets_none(connect: Connect, grid: GridServer) -> None:
    grid.answer(b'{"code":"unavailable"}', status=503, content_type="application/problem+json")
    memories, _ = connect(grid.address, "token", retry=ONCE)
    with pytest.raises(UnreachableError):
        memories.get("tea")
    assert len(grid.seen) == 1
