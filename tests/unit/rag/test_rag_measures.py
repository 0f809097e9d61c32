"""What is measured of retrieval: recall, times, and text that is the same each time."""

from pathlib import Path

import pytest

from ragrid.errors import RagridError
from ragrid.verify.bench_ask import bench_questions, document_text, summarize
from ragrid.verify.retrieval import Question, load_questions, measure_recall, recall_at

QUESTIONS = (Question("a?", ("a.html",)), Question("b?", ("b.html", "c.html")), Question("d?", ("d.html",)))


async def test_recall_counts_any_right_document_among_the_first_k() -> None:
    found = {"a?": ["x", "a.html"], "b?": ["c.html"], "d?": ["x", "y", "d.html"]}

    async def search(question: str) -> list[str]:
        return found[question]

    assert (await measure_recall(search, QUESTIONS, k=3)).ratio == 1
    at_two = await measure_recall(search, QUESTIONS, k=2)
    assert (at_two.asked, at_two.missed) == (3, ("d?",))
    assert at_two.ratio == pytest.approx(2 / 3)


@pytest.mark.parametrize(("questions", "found"), [((), []), (QUESTIONS, [["a.html"]])])
def test_recall_over_nothing_or_half_is_no_figure(questions: tuple[Question, ...], found: list[list[str]]) -> None:
    with pytest.raises(RagridError, match="wanted one for each"):
        recall_at(5, questions, found)


def test_a_question_set_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text('{"corpus": "x", "about": "y", "questions": [{"question": 3}]}')
    with pytest.raises(RagridError, match=r"q\.json.*questions"):
        load_questions(tmp_path / "q.json")


def test_the_benchmark_reports_mean_median_and_nearest_rank() -> None:
    figures = summarize([float(number) for number in range(1, 201)], [{"embed": 1.0}, {"embed": 3.0, "vector": 1.0}])
    assert (figures["retrieval_mean_ms"], figures["retrieval_p50_ms"], figures["retrieval_p99_ms"]) == (
        100.5,
        100.5,
        198,
    )
    assert figures["phases_mean_ms"] == {"embed": 2.0, "vector": 0.5}
    assert summarize([5.0], [{}])["retrieval_p99_ms"] == 5.0


def test_the_benchmarks_text_is_the_same_each_time_and_its_questions_differ() -> None:
    assert document_text(3) == document_text(3) != document_text(4)
    assert len(set(bench_questions(200))) == 200
    assert list(bench_questions(5)) == list(bench_questions(5))
