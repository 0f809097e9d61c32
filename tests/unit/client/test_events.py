"""Server-sent events, cut anywhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.client.events import LARGEST_EVENT_BYTES, AnswerStream, EventDecoder, RawEvent
from ragrid.client.models import Cited, Done, Piece
from ragrid.errors import AuthError, RagridError, UnreachableError

STREAM = (
    b": a comment keeps the connection open\n\n"
    b'event: citations\ndata: {"citations":[]}\n\n'
    b'event: token\r\ndata: {"text":\r\ndata: "f\xc3\xbcr"}\r\n\r\n'
    b'event: later\rdata: {"new": 1}\r\r'
    b'event: done\ndata: {"generator":"extractive","timings_ms":{"total":3}}\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_where_the_network_cuts_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    stream = AnswerStream("POST /rag/v1/ask")
    events = [event for start, end in itertools.pairwise(edges) for event in stream.feed(STREAM[start:end])]
    assert events == [Cited(citations=()), Piece(text="für"), Done(generator="extractive", timings_ms={"total": 3})]
    stream.finish()


def test_a_stream_without_done_is_an_error() -> None:
    stream = AnswerStream("POST /rag/v1/ask")
    assert list(stream.feed(b'event: token\ndata: {"text":"half an"}\n\n')) == [Piece(text="half an")]
    with pytest.raises(UnreachableError, match="ended before the answer was complete; ask again"):
        stream.finish()


def test_an_unfinished_last_event_is_not_delivered() -> None:
    stream = AnswerStream("call")
    assert list(stream.feed(b"event: done\ndata: {}\n")) == []
    assert not stream.is_done


def test_an_error_event_is_raised_with_its_status() -> None:
    problem = b'{"status":403,"detail":"token lacks vllm:infer","code":"forbidden"}'
    with pytest.raises(AuthError, match="403: token lacks vllm:infer"):
        list(AnswerStream("call").feed(b"event: error\ndata: " + problem + b"\n\n"))


def test_an_event_of_another_shape_names_itself() -> None:
    with pytest.raises(RagridError, match=r"event 'token': .* wanted Piece"):
        list(AnswerStream("call").feed(b"event: token\ndata: []\n\n"))


def test_an_event_may_not_grow_without_end() -> None:
    decoder = EventDecoder()
    with pytest.raises(RagridError, match="larger than"):
        list(decoder.feed(b"data: " + b"x" * LARGEST_EVENT_BYTES))


def test_an_event_without_a_name_is_a_message() -> None:
    assert list(EventDecoder().feed(b"data:plain\n\n")) == [RawEvent("message", b"plain")]
