"""The client's idea of a memory is the service's: no member is missing on either side."""

import inspect
from functools import partial

import msgspec
import pytest

from ragrid.client.calls import Call
from ragrid.client.memory import asynchronous, calls, exchange, keeping, sessions, synchronous
from ragrid.client.memory.models import Changes, Members, Memory, MemoryPage
from ragrid.client.pages import Page, follow
from ragrid.errors import RagridError, UsageError
from ragrid.services.memory import model


def test_every_member_of_a_memory_is_known() -> None:
    assert set(Memory.__struct_fields__) == set(model.Memory.__struct_fields__)


def test_every_member_that_may_be_set_can_be_set() -> None:
    wanted = set(model.MemoryInput.__struct_fields__) - {"content"}
    assert set(Members.__annotations__) == wanted
    assert set(Changes.__annotations__) == wanted | {"content"}


def test_a_memory_of_a_newer_grid_is_read() -> None:
    least = {"id": "a", "namespace": "n", "version": 1, "seq": 1, "content": "x", "type": "of-tomorrow"}
    who = {f"{what}_{end}": value for what in ("created", "updated") for end, value in (("at", NOON), ("by", "me"))}
    read = msgspec.json.decode(msgspec.json.encode({**least, **who, "new_member": 1}), type=Memory)
    assert (read.type, read.tags) == ("of-tomorrow", ())


NOON = "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("call", "repeat"),
    [
        (calls.get("n", "a"), "always"),
        (calls.create("n", {}, "key"), "always"),
        (calls.put("n", "a", {}, if_version=None, if_absent=False), "unsent"),
        (calls.put("n", "a", {}, if_version=1, if_absent=False), "always"),
        (calls.put("n", "a", {}, if_version=None, if_absent=True), "always"),
        (calls.update("n", "a", {}, if_version=None), "unsent"),
        (calls.update("n", "a", {}, if_version=2), "always"),
        (calls.delete("n", "a", if_version=None), "unsent"),
        (calls.delete("n", "a", if_version=2), "always"),
        (calls.delete("n", "a", if_version=None, purge=True), "unsent"),
        (calls.restore("n", "a", version=1, if_version=None), "unsent"),
        (calls.restore("n", "a", version=1, if_version=2), "always"),
        (calls.batch("n", [], atomic=True), "unsent"),
        (calls.count_to_forget("n", {}, purge=False), "always"),
        (calls.search("n", "q", k=1, options={}), "always"),
        (sessions.append("n", "s", [], "key", after=None, ttl_seconds=None), "always"),
        (sessions.put_state("n", "s", {}, ttl_seconds=None, if_version=None), "unsent"),
        (sessions.put_state("n", "s", {}, ttl_seconds=None, if_version=1), "always"),
        (sessions.delete("n", "s"), "unsent"),
        (exchange.changes("n", 0, wait=True), "always"),
        (exchange.take(b"", None, atomic=False), "always"),
        (keeping.put("n", {}, if_version=None), "unsent"),
        (keeping.delete("n", if_version=1), "always"),
        (calls.page("n", {}, None), "always"),
        (calls.history("n", "a", None), "always"),
    ],
)
def test_only_what_is_safe_is_repeated(call: Call[object], repeat: str) -> None:
    assert call.repeat == repeat


@pytest.mark.parametrize("name", ["Memories", "Session", "Namespaces"])
def test_both_clients_offer_the_same(name: str) -> None:
    def offered(kind: type) -> dict[str, tuple[list[inspect.Parameter], str | None]]:
        methods = {one: found for one, found in vars(kind).items() if inspect.isfunction(found) and one[0] != "_"}
        return {
            one: (list(inspect.signature(found).parameters.values()), found.__doc__) for one, found in methods.items()
        }

    assert offered(getattr(synchronous, name))
    assert offered(getattr(asynchronous, f"Async{name}")) == offered(getattr(synchronous, name))


def test_an_import_is_cut_at_line_ends() -> None:
    cut = list(exchange.pieces([b"aaaa\n", b"bbbb", b"cc\n"], limit_bytes=10))
    assert cut == [(0, b"aaaa\nbbbb\n"), (2, b"cc\n")]
    assert list(exchange.pieces([])) == []


def test_an_export_that_was_cut_off_is_an_error() -> None:
    whole = exchange.Whole("GET /memory/v1/export")
    for line in (b'{"kind":"header"}', b'{"kind":"memory"}', b'{"kind":"end","lines":1}'):
        whole.saw(line)
    whole.check()
    cut = exchange.Whole("GET /memory/v1/export")
    cut.saw(b'{"kind":"header"}')
    with pytest.raises(RagridError, match="cut off after 1 lines"):
        cut.check()


def test_an_id_is_one_segment_of_the_path() -> None:
    assert calls.get("n", "../a b/ü?").path == "/memory/v1/memories/..%2Fa%20b%2F%C3%BC%3F"
    with pytest.raises(UsageError, match="got none"):
        calls.get("n", "")


def test_two_conditions_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="wanted one of them"):
        calls.put("n", "a", {}, if_version=1, if_absent=True)


def test_a_cursor_that_leads_nowhere_is_an_error() -> None:
    def send(call: Call[Page[Memory]]) -> MemoryPage:
        return MemoryPage(items=(), after="b")

    with pytest.raises(RagridError, match="same page twice; see `ragrid logs memory`"):
        list(follow(send, partial(calls.page, "n", {})))
