"""An answer without a language model: the sentences of the passages that are closest to the question, quoted."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from ragrid.inference.embedder import Embedder, FloatArray
from ragrid.inference.generator import NOTHING_FOUND, Passage

#: Sentences quoted at most, and looked at most: each costs one embedding, about 7 ms on one processor.
QUOTED = 3
CONSIDERED = 20
#: A sentence below this similarity is no answer. all-MiniLM-L6-v2 puts unrelated sentences below 0.2 and answers
#: above 0.4; with hashed words even a good match shares only part of the question.
SEMANTIC_FLOOR, LEXICAL_FLOOR = 0.3, 0.15
#: Two sentences that are closer than this say the same thing.
_SAME = 0.95
#: Nor is one that is much further from the question than the closest: it is about something beside it.
_NEAR_BEST = 0.6
#: How much of a sentence's weight is its passage's score: "How do backups work?" is answered from the page on backups,
#: not by a sentence elsewhere that shares its words.
_PASSAGE_SHARE = 0.4
_LONGEST = 400
#: Without a full stop it may be a heading, which answers nothing; a long one is a list item.
_FEWEST_WORDS, _FEWEST_WORDS_OPEN = 4, 9
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
_MARK = re.compile(r"^[-*•\s]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of passage `number` (from 1), in the order of reading."""

    number: int
    order: int
    text: str


class ExtractiveGenerator:
    """Quotes and cites; invents nothing. Says so when no sentence is close enough."""

    name = "extractive"

    def __init__(self, embedder: Embedder) -> None:
        """`embedder` is shared with its owner, who closes it."""
        self._embedder = embedder

    async def stream(self, question: str, passages: Sequence[Passage], *, token: str = "") -> AsyncIterator[str]:
        """Yield one quoted sentence after the other."""
        del token  # nothing leaves this process
        sentences = split_sentences(passages)
        if not sentences:
            yield NOTHING_FOUND
            return
        rows = await self._embedder.embed([question, *(sentence.text for sentence in sentences)])
        floor = SEMANTIC_FLOOR if self._embedder.is_semantic else LEXICAL_FLOOR
        closeness = (rows[1:] @ rows[0]) * _weights(sentences, passages)
        chosen = choose(sentences, closeness, rows[1:], floor=floor)
        if not chosen:
            yield NOTHING_FOUND
        for position, sentence in enumerate(chosen):
            yield f"{'' if position == 0 else chr(10)}“{sentence.text}” [{sentence.number}]"

    async def close(self) -> None:
        """Nothing is held."""


def split_sentences(passages: Sequence[Passage]) -> list[Sentence]:
    """Return what could be quoted, the best passages first: no fragments, questions or repetitions."""
    found: dict[str, Sentence] = {}
    for number, passage in enumerate(passages, start=1):
        for match in _SENTENCE.finditer(passage.text):
            text = _MARK.sub("", match[0]).strip()
            if _could_answer(text):
                found.setdefault(text, Sentence(number, len(found), text))
    return list(found.values())[:CONSIDERED]


def _could_answer(text: str) -> bool:
    """Tell whether `text` reads like a statement: no fragment, heading, question or monster."""
    fewest = _FEWEST_WORDS if text.endswith((".", "!")) else _FEWEST_WORDS_OPEN
    return len(text.split()) >= fewest and not text.endswith("?") and len(text) <= _LONGEST


def _weights(sentences: Sequence[Sentence], passages: Sequence[Passage]) -> FloatArray:
    """Return what each sentence's closeness counts: more in a passage that fits the question as a whole."""
    scores = np.array([passages[sentence.number - 1].score for sentence in sentences], dtype=np.float32)
    return (1 - _PASSAGE_SHARE) + _PASSAGE_SHARE * scores


def choose(
    sentences: Sequence[Sentence], closeness: FloatArray, rows: FloatArray, *, floor: float
) -> tuple[Sentence, ...]:
    """Return up to QUOTED sentences, the closest first, none below `floor` and none that repeats a chosen one."""
    floor = max(floor, _NEAR_BEST * float(closeness.max()))
    chosen: list[int] = []
    for position in sorted(range(len(sentences)), key=lambda each: (-float(closeness[each]), each)):
        if closeness[position] < floor or len(chosen) == QUOTED:
            break
        if all(float(rows[position] @ rows[other]) < _SAME for other in chosen):
            chosen.append(position)
    return tuple(sentences[position] for position in chosen)
