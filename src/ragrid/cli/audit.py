"""`ragrid audit`."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import to_builtins

from ragrid.cli.administer import administrator, draw, moment
from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import show
from ragrid.client import GridClient, administration
from ragrid.client.administration import AuditLine
from ragrid.errors import UsageError
from ragrid.spec.values import Duration

_PAGE = 1000


@click.command(
    epilog="\b\nExamples:\n  ragrid audit --since 1h\n  ragrid audit --subject reader --since 2026-11-01 --json"
)
@click.option("--since", default="24h", show_default=True, help="A duration such as `10m`, or an ISO date or time.")
@click.option("--subject", help="Only what concerns this client or person.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="The last so many.")
@state_option
@json_option
def command(since: str, subject: str | None, limit: int, state: Path | None, as_json: bool) -> None:
    """Read the audit log: every token, refusal, revocation, and change of clients, people and keys."""
    since_s = since_time_s(since, now_s=time.time())
    with administrator(state) as grid:
        lines = list(_lines(grid, since_s, subject))[-limit:]
    if as_json:
        show({"events": to_builtins(lines)})
        return
    rows = [
        (str(one.id), moment(one.at_s), one.event, one.subject or one.client_id or "-", _told(one)) for one in lines
    ]
    draw(("line", "time", "event", "who", "details"), rows)


def since_time_s(text: str, *, now_s: float) -> float:
    """Return the time that `--since` means, in seconds since 1970. Raises UsageError saying how to write one."""
    try:
        return max(0.0, now_s - Duration.parse(text).seconds)
    except ValueError:
        pass
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since {text!r}: wanted a duration such as `10m`, or `2026-11-23T08:00Z`") from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def _lines(grid: GridClient, since_s: float, subject: str | None) -> Iterator[AuditLine]:
    after = 0
    while True:
        page = grid.send(administration.audit(after, since_s=since_s, subject=subject, limit=_PAGE))
        yield from page.events
        if len(page.events) < _PAGE:
            return
        after = page.next


def _told(line: AuditLine) -> str:
    found = {"token": line.token_id, **line.details} if line.token_id else line.details
    return " ".join(f"{name}={value}" for name, value in found.items())
