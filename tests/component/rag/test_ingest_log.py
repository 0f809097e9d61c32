"""The ingest log: what is durable, what is pending, and which tenant sees what."""

from dataclasses import replace
from pathlib import Path

import pytest

from ragrid.errors import StateError
from ragrid.services.rag.lexical import match_expression
from ragrid.services.rag.log import Chunk, Document, IngestLog, chunk_id_of, document_id_of
from ragrid.services.rag.retrieve import fuse


def _document(name: str = "a.txt", tenant: str = "t", revision: str = "r1") -> Document:
    return Document(
        id=document_id_of(tenant, name),
        tenant=tenant,
        name=name,
        title="",
        media_type="text/plain",
        encoding="utf-8",
        notes="[]",
        sha256="0",
        size_bytes=1,
        characters=1,
        chunk_count=2,
        revision=revision,
        version=1,
        ingested_at_s=0.0,
        collection=None,
    )


def _put(log: IngestLog, document: Document, *texts: str) -> list[Chunk]:
    chunks = [
        Chunk(chunk_id_of(document.id, document.revision, ordinal), document.id, ordinal, 0, len(text), "", text)
        for ordinal, text in enumerate(texts)
    ]
    log.put(document, " ".join(texts), chunks)
    return chunks


@pytest.fixture
def log(tmp_path: Path) -> IngestLog:
    return IngestLog(tmp_path / "log.sqlite3")


def test_a_document_is_pending_until_all_its_chunks_are_indexed(log: IngestLog, tmp_path: Path) -> None:
    document = _document()
    first, second = _put(log, document, "one", "two")
    log.mark_chunks([first], "c")
    reopened = IngestLog(tmp_path / "log.sqlite3")
    assert reopened.unindexed_chunks(document.id, "c", 10) == [second]
    assert reopened.unindexed_chunks(document.id, "other", 10) == [first, second]
    assert not reopened.is_complete("t", "c")
    assert log.mark_document(document, "c")
    assert reopened.is_complete("t", "c")
    assert not reopened.is_complete("t", "other")
    assert reopened.find("t", document.id) == replace(document, collection="c")
    log.forget_index("t")
    assert not log.is_complete("t", "c")
    assert reopened.counts() == (1, 2, 1)
    reopened.close()


def test_a_new_version_takes_the_old_one_out_and_an_old_mark_does_not_count(log: IngestLog) -> None:
    old = _document()
    _put(log, old, "moon")
    _put(log, _document(revision="r2"), "sun")
    assert not log.mark_document(old, "c")
    assert log.search("t", "moon", 5) == []
    assert [hit.chunk.text for hit in log.search("t", "sun", 5)] == ["sun"]


def test_tenants_are_apart_in_every_question(log: IngestLog) -> None:
    mine, other = _document(tenant="one"), _document(tenant="two")
    (chunk,) = _put(log, mine, "swordfish")
    _put(log, other, "halibut")
    assert log.search("two", "swordfish", 5) == []
    assert log.hits("two", [chunk.id]) == {}
    assert log.find("two", mine.id) is None
    assert log.text_of("two", mine.id) is None
    assert [each.name for each in log.page("two", prefix="", after="", limit=5)] == ["a.txt"]
    assert log.document_ids("two") == [other.id]


def test_a_deleted_document_answers_nothing_and_keeps_its_version(log: IngestLog) -> None:
    document = replace(_document(), version=3)
    _put(log, document, "gone")
    log.delete(document.id)
    assert log.find("t", document.id) is None
    assert log.search("t", "gone", 5) == []
    assert log.counts() == (0, 0, 0)
    assert log.deleted("t") == [document.id]
    assert log.last_version(document.id) == 3
    _put(log, document, "back")
    log.purge(document.id)
    assert [hit.chunk.text for hit in log.search("t", "back", 5)] == ["back"]


def test_words_are_found_by_their_stem_and_in_headings(log: IngestLog) -> None:
    document = _document()
    log.put(document, "x", [Chunk("c1", document.id, 0, 0, 1, "Backups > Nightly", "They run at two.")])
    assert log.search("t", "When does the backup happen?", 5)
    assert log.search("t", "running", 5)
    assert log.search("t", "lunch", 5) == []


@pytest.mark.parametrize(
    "question", ['"', "AND OR NOT", "a* NEAR(b)", "text:x", "'; DROP TABLE chunks", "☃", "-x ^y", ""]
)
def test_nothing_in_a_question_is_an_operator(log: IngestLog, question: str) -> None:
    _put(log, _document(), "text")
    log.search("t", question, 5)


def test_stop_words_count_only_when_there_is_nothing_else() -> None:
    assert match_expression("Where is the gateway?") == '"gateway"'
    assert match_expression("who is who") == '"who" OR "is"'
    assert match_expression("?!") == ""
    assert len(match_expression(" ".join(map(str, range(5000)))).split(" OR ")) == 64


@pytest.mark.parametrize(
    "content", [b"this is no database at all, not even nearly" * 50, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"log\.sqlite3"):
        IngestLog(path)
    assert path.read_bytes() == content


def test_a_file_of_another_version_is_refused(log: IngestLog, tmp_path: Path) -> None:
    log._connection.pragma("user_version", 99)
    with pytest.raises(StateError, match="schema version 99, wanted 1"):
        IngestLog(tmp_path / "log.sqlite3")


def test_fusion_prefers_what_both_found() -> None:
    fused = fuse([["a", "b", "c"], ["b", "d"]])
    assert [name for name, _ in fused] == ["b", "a", "d", "c"]
    assert all(0 < score <= 1 for _, score in fused)
    assert fuse([["a"], ["a"]]) == [("a", 1.0)]
    assert fuse([]) == []
