"""`ragrid down`."""

import shutil
import sys
from pathlib import Path

import click
from rich.markup import escape

from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import console, say, show
from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.locate import locate
from ragrid.drivers.local.site import interpreter
from ragrid.errors import UsageError


@click.command(epilog="\b\nExamples:\n  ragrid down\n  ragrid down --purge --yes")
@click.option("--purge", is_flag=True, help="Also delete the state directory with all data and secrets.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@state_option
@json_option
def command(purge: bool, yes: bool, state: Path | None, as_json: bool) -> None:
    """Stop every part of a grid; its data stays unless --purge is given."""
    layout = locate(state)
    if purge and not yes:
        _confirm(layout.root)
    with console.status(f"stopping {layout.root}"):
        stopped = LocalDriver(layout, (), python=interpreter()).stop()
    if purge:
        shutil.rmtree(layout.root)
        _remove_if_empty(layout.root.parent)
    if as_json:
        show({"stopped": stopped, "purged": purge, "state": str(layout.root)})
        return
    say(f"stopped {len(stopped)} parts{': ' + ', '.join(stopped) if stopped else ''}")
    root = escape(str(layout.root))
    say(f"deleted {root}" if purge else f"data stays in {root}; start again with `ragrid up`")


def _confirm(root: Path) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{root}: --purge deletes all data and secrets in it; add --yes to do so without a terminal")
    click.confirm(f"Delete {root} with all data and secrets?", abort=True, err=True)


def _remove_if_empty(folder: Path) -> None:
    if folder.name == "ragrid" and not any(folder.iterdir()):
        folder.rmdir()
