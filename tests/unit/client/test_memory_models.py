"""The client's idea of a memory is the service's: no member is missing on either side."""

import msgspec
import pytest

from ragrid.client.calls import Call
from ragrid.client.memory import calls
from ragrid.client.memory.models import Changes, Members, Memory
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
        (calls.search("n", "q", {}, k=1, mode=None), "always"),
        (calls.page("n", {}, limit=1, cursor=None), "always"),
        (calls.history("n", "a", limit=1, cursor=None), "always"),
    ],
)
def test_only_what_is_safe_is_repeated(call: Call[object], repeat: str) -> None:
    assert call.repeat == repeat


def test_an_id_is_one_segment_of_the_path() -> None:
    assert calls.get("n", "../a b/ü?").path == "/memory/v1/memories/..%2Fa%20b%2F%C3%BC%3F"
    with pytest.raises(UsageError, match="got none"):
        calls.get("n", "")


def test_two_conditions_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="wanted one of them"):
        calls.put("n", "a", {}, if_version=1, if_absent=True)


def test_a_cursor_that_leads_nowhere_is_an_error() -> None:
    assert calls.advanced("GET /x", "b", "a") == "b"
    with pytest.raises(RagridError, match="same page twice"):
        calls.advanced("GET /x", "a", "a")
