"""What people read while they wait: lines on standard error; standard output is for data."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

#: rich honours NO_COLOR and draws nothing but plain text when this is not a terminal.
console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Write one line for people; `text` may hold rich markup."""
    console.print(text)


def show(document: Any) -> None:
    """Write one JSON document to standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


class Progress:
    """Numbered lines, one for each thing that was finished, and a live line for what is waited for."""

    def __init__(self, status: Status | None) -> None:
        self._total = 0
        self._count = 0
        self._status = status
        self._started = time.monotonic()

    def expect(self, total: int) -> None:
        """Say how many things there are."""
        self._total = total

    def waiting(self, text: str) -> None:
        """Say what is waited for, as it stands."""
        if self._status is not None:
            self._status.update(f"{escape(text)} [dim]({time.monotonic() - self._started:.0f} s)[/dim]")

    def done(self, text: str) -> None:
        """Say what is finished; `text` may hold rich markup."""
        self._count += 1
        elapsed = time.monotonic() - self._started
        say(rf"[dim]\[{self._count:>{len(str(self._total))}}/{self._total}] {elapsed:5.1f} s[/dim]  {text}")


@contextmanager
def progress(total: int = 0) -> Iterator[Progress]:
    """Show the progress of `total` things while the block runs."""
    if console.is_terminal:
        with console.status("") as status:
            shown = Progress(status)
            shown.expect(total)
            yield shown
    else:
        shown = Progress(None)
        shown.expect(total)
        yield shown
