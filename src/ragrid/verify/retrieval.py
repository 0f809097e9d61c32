"""How often the right document is among the first passages: recall@k over a corpus with known answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ragrid.errors import RagridError

#: Returns the documents of the passages that were found for a question, the best first.
Search = Callable[[str], Awaitable[Sequence[str]]]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question and the documents that answer it; any of them is right."""

    question: str
    documents: tuple[str, ...]


class QuestionSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Questions about one corpus; `about` says how they were made."""

    corpus: str
    about: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Recall:
    """The share (0 to 1) of questions for which a right document was among the first `k`, and which were missed."""

    k: int
    asked: int
    ratio: float
    missed: tuple[str, ...]


def load_questions(path: Path) -> QuestionSet:
    """Read a question set. Raises RagridError naming the file and the member when it is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=QuestionSet)
    except (OSError, msgspec.MsgspecError) as error:
        raise RagridError(f"{path}: {error}; wanted a question set") from error


def recall_at(k: int, questions: Sequence[Question], found: Sequence[Sequence[str]]) -> Recall:
    """Return the recall at `k`; `found` holds the documents of each question's passages, the best first."""
    if len(questions) != len(found) or not questions:
        raise RagridError(f"recall: got {len(found)} results, wanted one for each of {len(questions)} questions")
    missed = tuple(
        each.question
        for each, documents in zip(questions, found, strict=True)
        if set(each.documents).isdisjoint(documents[:k])
    )
    return Recall(k, len(questions), 1 - len(missed) / len(questions), missed)


async def measure_recall(search: Search, questions: Sequence[Question], *, k: int) -> Recall:
    """Ask every question through `search`, one after the other, and return the recall at `k` passages."""
    return recall_at(k, questions, [await search(each.question) for each in questions])
