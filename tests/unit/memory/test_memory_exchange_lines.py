"""Lines of an export: cut out of a stream, rendered, and refused with the place of every fault."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.services.memory.changes import MemoryCopy, Scope
from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.lines import (
    EndLine,
    HeaderLine,
    Step,
    end_line,
    header_line,
    memory_line,
    parse_line,
)
from ragrid.services.memory.exchange.ndjson import LineSplitter

MEMORY: dict[str, Any] = {
    "type": "semantic",
    "content": "tea",
    "data": {},
    "user_id": None,
    "agent_id": None,
    "session_id": None,
    "tags": [],
    "metadata": {},
    "importance": 0.5,
    "source": None,
    "valid_from": None,
    "valid_to": None,
    "supersedes": [],
    "superseded_by": None,
    "pinned": False,
    "expires_at": None,
    "created_at": "2027-01-15T08:00:00Z",
    "created_by": "alice",
}
VECTOR_FAULT = ["/memory/embedding/float16"]
LINE: dict[str, Any] = {
    "kind": "memory",
    "op": "create",
    "namespace": "default",
    "id": "k",
    "version": 1,
    "at": "2027-01-15T08:00:00Z",
    "actor": "alice",
    "memory": MEMORY,
}


def parse(value: Any) -> Any:
    return parse_line(msgspec.json.encode(value), tenant="acme", namespace=None)


def faults_of(value: Any) -> list[str]:
    with pytest.raises(InvalidBodyError) as refusal:
        parse(value)
    return [pointer for pointer, _ in refusal.value.faults]


@given(
    lines=st.lists(st.binary(max_size=30).filter(lambda one: b"\n" not in one and not one.endswith(b"\r"))),
    data=st.data(),
)
def test_lines_come_out_whole_however_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(one + data.draw(st.sampled_from([b"\n", b"\r\n"])) for one in lines)
    splitter = LineSplitter(limit_bytes=20)
    found: list[bytes | None] = []
    while text:
        size = data.draw(st.integers(1, len(text)))
        found += splitter.feed(text[:size])
        text = text[size:]
    found += splitter.end()
    for seen, line in zip(found, lines, strict=True):
        assert seen == line or (seen is None and len(line) >= 20)


def test_a_last_line_needs_no_end_and_a_long_one_is_never_held() -> None:
    splitter = LineSplitter(limit_bytes=10)
    assert list(splitter.feed(b"a\nb")) == [b"a"]
    assert list(splitter.feed(b"x" * 1000)) == []
    assert splitter._parts == []
    assert list(splitter.feed(b"\nc")) == [None]
    assert list(splitter.end()) == [b"c"]


def test_the_first_and_the_last_line_say_what_they_are() -> None:
    assert parse_line(header_line().strip(), tenant="acme", namespace=None) == HeaderLine(
        format="ragrid-memory", format_version=2
    )
    assert parse_line(end_line(3).strip(), tenant="acme", namespace=None) == EndLine(lines=3)
    assert faults_of({"kind": "header", "format": "ragrid-memory", "format_version": 3}) == ["/format_version"]


def test_a_line_is_what_it_was_made_of() -> None:
    copy = parse(LINE)
    assert isinstance(copy, MemoryCopy)
    assert (copy.scope, copy.id, copy.version, copy.created_by) == (Scope("acme", "default"), "k", 1, "alice")
    doc = {**MEMORY, "id": "k", "namespace": "default", "version": 1, "seq": 9, "updated_at": "x", "updated_by": "y"}
    at_us = 1_800_000_000_000_000
    rendered = memory_line(copy.scope, "k", Step("create", 1, at_us, "alice", msgspec.json.encode(doc)))
    assert msgspec.json.decode(rendered) == LINE


def test_a_document_of_the_first_release_gets_the_members_that_came_later() -> None:
    old = {name: value for name, value in MEMORY.items() if not name.startswith("supersede")}
    line = memory_line(Scope("acme", "default"), "k", Step("create", 1, 0, "a", msgspec.json.encode(old)))
    assert list(msgspec.json.decode(line)["memory"]) == list(MEMORY)


def test_a_namespace_that_is_named_wins_over_the_lines() -> None:
    copy = parse_line(msgspec.json.encode(LINE), tenant="acme", namespace="copied")
    assert isinstance(copy, MemoryCopy)
    assert copy.scope == Scope("acme", "copied")


@pytest.mark.parametrize(
    ("value", "pointers"),
    [
        ([], [""]),
        ({"kind": "memo"}, ["/kind"]),
        ({**LINE, "version": 0}, ["/version"]),
        ({**LINE, "id": "a b"}, ["/id"]),
        ({**LINE, "id": "k\n"}, ["/id"]),
        ({**LINE, "namespace": "default\n"}, ["/namespace"]),
        ({**LINE, "namespace": "a/b"}, ["/namespace"]),
        ({**LINE, "at": "2027-01-15T08:00:00"}, ["/at"]),
        ({**LINE, "op": "expire"}, ["/op"]),
        ({**LINE, "actor": "a\0b"}, ["/actor"]),
        ({**LINE, "op": "delete"}, ["/memory"]),
        ({**LINE, "memory": None}, ["/memory"]),
        ({**LINE, "seq": 4}, ["/seq"]),
        ({**LINE, "memory": {**MEMORY, "importance": 2, "tags": [1]}}, ["/memory/importance", "/memory/tags/0"]),
        ({**LINE, "memory": {**MEMORY, "created_by": "", "oops": 1}}, ["/memory/created_by", "/memory/oops"]),
        ({**LINE, "memory": {**MEMORY, "ttl_seconds": 5}}, ["/memory/ttl_seconds"]),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m", "values": [1]}}}, ["/memory/embedding/values"]),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m"}}}, ["/memory/embedding/float16"]),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m", "float16": "AA=="}}}, VECTOR_FAULT),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m", "float16": "AAA="}}}, VECTOR_FAULT),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m", "float16": "/38="}}}, VECTOR_FAULT),
        ({**LINE, "memory": {**MEMORY, "embedding": {"model": "m", "float16": "é"}}}, VECTOR_FAULT),
        ({"kind": "namespace", "namespace": "a", "quota_rows": 0, "updated_by": "x"}, ["/quota_rows"]),
        ({"kind": "state", "session_id": "s"}, ["/namespace"]),
    ],
)
def test_every_fault_has_its_place(value: Any, pointers: list[str]) -> None:
    assert faults_of(value) == pointers


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b"nonsense"])
def test_what_is_no_json_is_a_fault_of_the_line(text: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_line(text, tenant="acme", namespace=None)
