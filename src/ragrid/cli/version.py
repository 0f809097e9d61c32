"""`ragrid version`."""

import json

import click

import ragrid


@click.command(epilog="\b\nExamples:\n  ragrid version\n  ragrid version --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Print the version."""
    click.echo(json.dumps({"version": ragrid.__version__}) if as_json else f"ragrid {ragrid.__version__}")
