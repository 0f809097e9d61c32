"""`ragrid status`."""

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ragrid.apply.bring_up import local_driver
from ragrid.cli.context import json_option, site_of_state, state_option
from ragrid.cli.talk import show
from ragrid.verify.status import GridStatus, PartStatus, examine

#: Wide enough for every column, so that what is piped to a file or a pager is whole.
_WIDTH_OF_FILES = 160


@click.command(epilog="\b\nExamples:\n  ragrid status\n  ragrid status --json | jq .healthy")
@state_option
@json_option
def command(state: Path | None, as_json: bool) -> int:
    """Show every part of the grid; exit code 0 only when all of it is healthy."""
    site = site_of_state(state)
    status = examine(site, local_driver(site))
    if as_json:
        show(status.document())
    else:
        _draw(status)
    return 0 if status.is_healthy else 1


def _draw(status: GridStatus) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "state", "health", "address", "version", "pid", "since", "scraped"):
        table.add_column(heading, no_wrap=True)
    for part in status.parts:
        table.add_row(*_row(part))
    supervisor = "running" if status.supervisor else "[red]not running[/red]; `ragrid up` starts it"
    console.print(f"grid {status.grid} at {status.address}, supervisor {supervisor}")
    console.print(table)
    for part in status.parts:
        if part.detail:
            console.print(f"  {part.name}: {part.detail}", markup=False)
    console.print(f"embedder {status.embedder}, generator {status.generator}")
    console.print("[green]all is healthy[/green]" if status.is_healthy else "[red]not all is healthy[/red]")


def _row(part: PartStatus) -> tuple[str, ...]:
    health = "[green]ok[/green]" if part.is_healthy else "[red]failing[/red]"
    scraped = {True: "yes", False: "[red]no[/red]", None: "?"}[part.scraped]
    return (
        part.name,
        part.state.lower(),
        health,
        part.address,
        part.version,
        str(part.pid or "-"),
        _ago(part.since_s),
        scraped,
    )


def _ago(since_s: float | None) -> str:
    if not since_s:
        return "-"
    seconds = max(0, int(time.time() - since_s))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"
