"""What the verbs of administration share: the seeded administrator's client, and how times and tables are shown."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ragrid.cli.context import client_of, site_of_state
from ragrid.client import GridClient
from ragrid.errors import UsageError

#: The seeded client that administers; whoever can read its secret file owns the grid anyway.
ADMINISTRATOR = "admin"
#: Wide enough for every column, so that what is piped to a file or a pager is whole.
_WIDTH_OF_FILES = 200


def administrator(state: Path | None) -> GridClient:
    """Return a client of the running grid that may administer tokens, clients, keys and people."""
    return client_of(site_of_state(state), ADMINISTRATOR)


def read_argument(text: str, what: str) -> str:
    """Return an argument, or standard input when it is `-`. Raises UsageError when there is nothing."""
    found = (sys.stdin.read() if text == "-" else text).strip()
    if not found:
        raise UsageError(f"{what}: got nothing; give it as argument, or on standard input for `-`")
    return found


def moment(time_s: float | None) -> str:
    """Return a time for people, in UTC."""
    return "-" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def until(time_s: float) -> str:
    """Return how far away a time is."""
    seconds = time_s - time.time()
    return f"in {seconds:.0f} s" if seconds >= 0 else f"{-seconds:.0f} s ago"


def draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
    console.print(table)
