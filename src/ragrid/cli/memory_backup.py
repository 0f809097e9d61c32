"""`ragrid memory backup`."""

import time

import click

from ragrid.cli.caller import Caller, caller_options, grid_of
from ragrid.cli.context import json_option
from ragrid.cli.memory_options import document_of
from ragrid.cli.talk import say, show
from ragrid.errors import RagridError

#: Between two looks at the job, seconds.
LOOK_S = 0.2


@click.command(epilog="\b\nExamples:\n  ragrid memory backup\n  ragrid memory backup --json | jq -r .result.name")
@caller_options
@json_option
def backup(*, caller: Caller, as_json: bool) -> None:
    """Copy the whole store, all tenants, into its folder of backups on its own machine, while it serves.

    Nothing is sent here. Copies are in `data/memory/backups` of the state directory; the oldest give way to new ones.
    """
    with grid_of(caller, "admin") as grid:
        job = grid.memories.backup()
        while job.state == "running":
            time.sleep(LOOK_S)
            job = grid.memories.job(job.id)
    if job.result is None:
        raise RagridError(f"backup: {job.error}")
    if as_json:
        show(document_of(job))
        return
    click.echo(job.result["name"])
    size, seq, took_s = job.result["bytes"], job.result["seq"], job.result["took_ms"] / 1000
    say(f"[dim]{size} bytes, every change up to {seq}, made in {took_s:.1f} s; {len(job.result['kept'])} kept[/dim]")
