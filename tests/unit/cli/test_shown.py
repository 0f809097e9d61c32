"""What people read: names of theirs as they are, and codes as words."""

import pytest

from ragrid.cli import ask, ingest
from ragrid.cli.talk import progress
from ragrid.client import Done

ODD = "[draft] offer [/b].md"


@pytest.mark.parametrize("reason", ["", "binary [/x]"])
def test_no_part_of_a_file_name_is_taken_for_markup(reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1) as shown:
        shown.waiting(ODD)
        shown.done(ingest._line(ingest.Outcome(path=ODD, document=ODD, status="ingested", reason=reason)))
    assert f"ingested {ODD}" in capsys.readouterr().err


def test_what_an_answer_had_to_do_without_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    done = Done(cited=(), generator="extractive", embedder="m", degraded=(*ask._DEGRADED, "new-code"), timings_ms={})
    ask._show_sources((), done)
    told = capsys.readouterr().err
    assert "ChromaDB did not answer" in " ".join(told.split())
    assert "new-code" in told
    assert "generator-away" not in told
