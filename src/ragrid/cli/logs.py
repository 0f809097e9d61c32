"""`ragrid logs`."""

import difflib
import os
import time
from collections import deque
from pathlib import Path
from typing import TextIO

import click

from ragrid.cli.context import state_option
from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.locate import locate
from ragrid.errors import UsageError

_POLL_S = 0.2


@click.command(epilog="\b\nExamples:\n  ragrid logs gateway\n  ragrid logs memory --follow --lines 5")
@click.argument("part")
@click.option("--lines", default=50, show_default=True, type=click.IntRange(0, 100_000), help="How many to show.")
@click.option("--follow", "-f", is_flag=True, help="Go on showing new lines until interrupted.")
@state_option
def command(part: str, lines: int, follow: bool, state: Path | None) -> None:
    """Show the end of the log of PART (a name that `ragrid status` lists, or `supervisor`)."""
    log = _log_of(locate(state), part)
    with log.open(encoding="utf-8", errors="replace") as stream:
        for line in deque(stream, maxlen=lines):
            click.echo(line, nl=False)
        while follow:
            line = stream.readline()
            if line:
                click.echo(line, nl=False)
            else:
                _follow_cut(stream)
                time.sleep(_POLL_S)


def _follow_cut(stream: TextIO) -> None:
    """Go back to the start of a log that was cut because it had grown too large."""
    if os.fstat(stream.fileno()).st_size < stream.tell():
        stream.seek(0)


def _log_of(layout: Layout, part: str) -> Path:
    known = {path.stem: path for path in layout.log.glob("*.log")}
    if part in known:
        return known[part]
    near = difflib.get_close_matches(part, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(sorted(known))}"
    raise UsageError(f"{part!r}: no such log; {meant}")
