"""`ragrid config`."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ragrid.cli.context import grid_file_of, grid_option, json_option, say_not_yet
from ragrid.cli.talk import show
from ragrid.spec.load import load_grid
from ragrid.spec.show import effective_values


@click.group(epilog="\b\nExamples:\n  ragrid config show\n  ragrid config show --grid examples/tron.yaml --json")
def command() -> None:
    """Look at a grid file as ragrid reads it."""


@command.command(
    name="show", epilog="\b\nExamples:\n  ragrid config show\n  ragrid config show --grid examples/tron.yaml"
)
@grid_option
@json_option
def config_show(grid_file: Path | None, as_json: bool) -> None:
    """Print each value and where it came from; secrets appear as the references that they are."""
    file = grid_file_of(grid_file)
    loaded = load_grid(file)
    values, missing = effective_values(loaded), say_not_yet(loaded)
    if as_json:
        found = [{"key": key, "value": value, "origin": origin} for key, value, origin in values]
        show({"grid_file": str(file), "values": found, "not_yet": missing})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("key", "value", "origin"):
        table.add_column(heading, overflow="fold")
    for key, value, origin in values:
        table.add_row(key, str(value), origin, style="dim" if origin == "default" else None)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
