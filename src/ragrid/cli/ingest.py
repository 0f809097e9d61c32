"""`ragrid ingest`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
from rich.markup import escape

from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.talk import Progress, console, progress, show
from ragrid.client import GridClient, RefusedError
from ragrid.client.walk import Found, Skipped, walk
from ragrid.errors import PARTLY_DONE


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `reason` says why it was skipped or failed."""

    path: str
    document: str
    status: str
    chunks: int = 0
    reason: str = ""


@click.command(epilog="\b\nExamples:\n  ragrid ingest handbook/ notes.md\n  ragrid ingest --json docs/ | jq .failed")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@caller_options
@json_option
def command(paths: tuple[Path, ...], *, caller: Caller, as_json: bool) -> int:
    """Put files and folders (text, Markdown, HTML) into the grid's documents; unchanged files are skipped."""
    with grid_of(caller, "writer") as client:
        outcomes = ingest_paths(client, paths)
    counted = Counter(outcome.status for outcome in outcomes)
    failed = counted["failed"]
    if as_json:
        show({"counts": dict(counted), "failed": failed, "files": [vars(outcome) for outcome in outcomes]})
    else:
        console.print(", ".join(f"{count} {status}" for status, count in sorted(counted.items())) or "nothing found")
    if failed and failed < len(outcomes):
        return PARTLY_DONE
    return 1 if failed or not outcomes else 0


def ingest_paths(client: GridClient, paths: tuple[Path, ...]) -> list[Outcome]:
    """Hand in every file below `paths`; one that fails is named and does not stop the rest."""
    entries = list(walk(paths))
    outcomes: list[Outcome] = []
    with progress(len(entries)) as shown:
        for entry in entries:
            outcome = _skipped(entry) if isinstance(entry, Skipped) else _handed_in(client, entry, shown)
            shown.done(_line(outcome))
            outcomes.append(outcome)
    return outcomes


def _handed_in(client: GridClient, found: Found, shown: Progress) -> Outcome:
    shown.waiting(f"ingesting {found.name}")
    try:
        result = client.documents.ingest(found.name, found.path.read_bytes(), found.media_type)
    except (OSError, RefusedError) as error:
        return Outcome(str(found.path), found.name, "failed", reason=str(error))
    return Outcome(str(found.path), result.document, result.status, result.chunks)


def _skipped(entry: Skipped) -> Outcome:
    status = "failed" if not entry.path.exists() else "skipped"
    return Outcome(str(entry.path), "", status, reason=entry.reason)


def _line(outcome: Outcome) -> str:
    name = escape(outcome.document or outcome.path)  # a file may well be called "[draft] offer.md"
    if outcome.reason:
        return f"[yellow]{outcome.status}[/yellow] {name}: {escape(outcome.reason)}"
    return f"{outcome.status} {name}" + (f", {outcome.chunks} chunks" if outcome.chunks else "")
