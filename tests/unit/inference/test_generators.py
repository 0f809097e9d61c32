"""Answers: quoted sentences, and what an OpenAI-compatible server streams."""

from collections.abc import Sequence

import httpx
import msgspec
import pytest

from ragrid.errors import UnreachableError
from ragrid.inference.extractive import ExtractiveGenerator, split_sentences
from ragrid.inference.generator import NOTHING_FOUND, Passage, cited
from ragrid.inference.hashing import HashingEmbedder
from ragrid.inference.openai_generator import PROMPT_CHARACTERS, OpenAIGenerator, request_body


def _passage(text: str, document: str = "a.md") -> Passage:
    return Passage("id", document, 0, len(text), text, 1.0)


PASSAGES = (
    _passage("Backups\n\nBackups run every night at two. They are kept for seven days. When do they run?"),
    _passage("The supervisor restarts a failed container within two seconds. Version 1.5.9 is pinned."),
)


async def _answer(question: str, passages: Sequence[Passage] = PASSAGES) -> str:
    generator = ExtractiveGenerator(HashingEmbedder())
    return "".join([piece async for piece in generator.stream(question, passages)])


async def test_the_closest_sentence_is_quoted_and_cited() -> None:
    answer = await _answer("Who restarts a failed container?")
    assert answer.startswith("“The supervisor restarts a failed container within two seconds.” [2]")
    assert cited(answer, 2) == (2,)


@pytest.mark.parametrize("passages", [PASSAGES, (), (_passage("Too short."),)])
async def test_nothing_relevant_is_said_plainly(passages: Sequence[Passage]) -> None:
    assert await _answer("Which mushrooms grow beneath birches?", passages) == NOTHING_FOUND


def test_only_whole_sentences_that_say_something_are_quoted_once() -> None:
    texts = [sentence.text for sentence in split_sentences([*PASSAGES, PASSAGES[0]])]
    assert texts == [
        "Backups run every night at two.",
        "They are kept for seven days.",
        "The supervisor restarts a failed container within two seconds.",
        "Version 1.5.9 is pinned.",
    ]


def test_citations_that_name_no_passage_do_not_count() -> None:
    assert cited("so [2], and [1][2], but [0], [7], [x] and [1234]", 3) == (1, 2)


def _generator(*lines: str, status: int = 200, seen: list[httpx.Request] | None = None) -> OpenAIGenerator:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "tiny"}]})
        return httpx.Response(status, text="\n\n".join(lines) + "\n\n")

    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return OpenAIGenerator(client, "http://g/v1/", model=None, own_key=False)


def _data(text: str) -> str:
    return "data: " + msgspec.json.encode({"choices": [{"delta": {"content": text}}]}).decode()


async def test_pieces_come_as_the_server_streams_them_with_the_callers_token() -> None:
    seen: list[httpx.Request] = []
    start = 'data: {"choices": [{"delta": {"role": "assistant"}}]}'
    generator = _generator(": ping", start, _data("Two "), _data("seconds [2]"), "data: [DONE]", seen=seen)
    pieces = [piece async for piece in generator.stream("How long?", PASSAGES, token="abc")]
    assert pieces == ["Two ", "seconds [2]"]
    assert generator.name == "tiny"
    assert {request.headers["authorization"] for request in seen} == {"Bearer abc"}
    sent = msgspec.json.decode(seen[-1].content)
    assert sent["stream"] is True
    assert sent["model"] == "tiny"
    assert "[2] a.md\nThe supervisor" in sent["messages"][1]["content"]
    await generator.close()


@pytest.mark.parametrize(
    ("lines", "status", "pieces"),
    [
        (("nothing",), 503, []),
        (("data: not json",), 200, []),
        ((_data("half "),), 200, ["half "]),
    ],
)
async def test_a_server_that_fails_or_breaks_off_is_an_error(
    lines: tuple[str, ...], status: int, pieces: list[str]
) -> None:
    generator = _generator(*lines, status=status)
    stream = generator.stream("?", PASSAGES, token="t")
    assert [await anext(stream) for _ in pieces] == pieces
    with pytest.raises(UnreachableError, match="http://g/v1/chat/completions"):
        await anext(stream)
    await generator.close()


def test_the_prompt_holds_the_best_passages_that_fit() -> None:
    passages = [_passage("x" * (PROMPT_CHARACTERS // 2 - 20), f"{number}.md") for number in range(4)]
    content = str(request_body("m", "q", passages)["messages"])
    assert "[2] 1.md" in content
    assert "[3]" not in content
