"""`ragrid schema`."""

import click

from ragrid.cli.talk import show
from ragrid.spec.schema import json_schema


@click.command(epilog="\b\nExamples:\n  ragrid schema > grid.schema.json\n  ragrid schema | jq .properties.services")
@click.option("--json", "_as_json", is_flag=True, help="The schema is JSON in any case.")
def command(_as_json: bool) -> None:
    """Print the JSON Schema of grid.yaml (editors complete and check with it)."""
    show(json_schema())
