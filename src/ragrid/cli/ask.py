"""`ragrid ask`."""

import sys

import click

from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.talk import console, show
from ragrid.client import Answer, Citation, Cited, Done, GridClient, Piece

_QUOTE_LENGTH = 100
#: What the codes in `degraded` mean to who asked; docs/rag.md lists them.
_DEGRADED = {
    "vector-store-away": "ChromaDB did not answer: passages were found by their words alone; see `ragrid status`",
    "embedder-away": "the embedder did not answer: passages were found by their words alone; see `ragrid status`",
    "index-incomplete": "some documents are found by their words alone as yet; `ragrid ingest` them again",
    "generator-away": "the model did not answer: the best passages are quoted instead; see `ragrid status`",
}


@click.command(
    epilog='\b\nExamples:\n  ragrid ask "How do I restart the gateway?"\n  ragrid ask --json "Who backs up?"'
)
@click.argument("question")
@click.option("-k", "count", default=5, show_default=True, type=click.IntRange(1, 50), help="Passages to rest on.")
@caller_options
@json_option
def command(question: str, count: int, *, caller: Caller, as_json: bool) -> None:
    """Ask a question over the grid's documents; the answer streams, and cites file and position."""
    with grid_of(caller, "reader") as client:
        if as_json:
            show(answer_document(client.ask(question, count)))
        else:
            stream_answer(client, question, count)


def answer_document(answer: Answer) -> dict[str, object]:
    """Return the JSON form of an answer."""
    return {
        "answer": answer.answer,
        "citations": [
            {"document": each.document, "start": each.start, "end": each.end, "text": each.text, "score": each.score}
            for each in answer.citations
        ],
        "generator": answer.generator,
        "embedder": answer.embedder,
        "degraded": answer.degraded,
        "timings_ms": answer.timings_ms,
    }


def stream_answer(client: GridClient, question: str, count: int) -> None:
    """Print an answer as it is written, then its sources."""
    citations: tuple[Citation, ...] = ()
    for event in client.ask_stream(question, count):
        match event:
            case Cited():
                citations = event.citations
            case Piece():
                click.echo(event.text, nl=False)
                sys.stdout.flush()
            case Done():
                click.echo()
                _show_sources(citations, event)


def _show_sources(citations: tuple[Citation, ...], done: Done) -> None:
    click.echo()
    for number, each in enumerate(citations, start=1):
        text = " ".join(each.text.split())
        quote = text if len(text) <= _QUOTE_LENGTH else text[: _QUOTE_LENGTH - 1] + "…"
        click.echo(
            f"[{number}] {each.document}, characters {each.start} to {each.end} (score {each.score:.2f}): {quote}"
        )
    for code in done.degraded:
        console.print(f"[yellow]{_DEGRADED.get(code, code)}[/yellow]")
    console.print(f"[dim]generator {done.generator}, embedder {done.embedder}[/dim]")
