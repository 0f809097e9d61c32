"""`ragrid role`."""

from pathlib import Path

import click
from msgspec import to_builtins

from ragrid.cli.administer import administrator, draw
from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import show
from ragrid.client import administration
from ragrid.errors import UsageError


@click.group(epilog="\b\nExamples:\n  ragrid role show\n  ragrid role show reader --json")
def command() -> None:
    """Show what each role allows; roles are declared in the grid file, under `auth.roles`."""


@command.command(name="show", epilog="\b\nExamples:\n  ragrid role show\n  ragrid role show reader --json")
@click.argument("role", required=False)
@state_option
@json_option
def show_roles(role: str | None, state: Path | None, as_json: bool) -> None:
    """Show one role, or all: the built-in ones and the grid's own."""
    with administrator(state) as grid:
        roles = grid.send(administration.roles()).roles
    found = [one for one in roles if role in (None, one.role)]
    if not found:
        raise UsageError(f"role {role!r}: no such role; known are: {', '.join(one.role for one in roles)}")
    if as_json:
        show({"roles": to_builtins(found)})
        return
    rows = [(one.role, "built in" if one.builtin else "grid", " ".join(one.permissions)) for one in found]
    draw(("role", "from", "permissions"), rows)
