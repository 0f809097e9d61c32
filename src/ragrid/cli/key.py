"""`ragrid key`."""

from pathlib import Path

import click
from msgspec import to_builtins

from ragrid.cli.administer import administrator, draw, moment
from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import say, show
from ragrid.client import administration
from ragrid.client.administration import KeyPage


@click.group(epilog="\b\nExamples:\n  ragrid key list\n  ragrid key rotate")
def command() -> None:
    """List, rotate and withdraw the keys that sign tokens."""


@command.command(name="list", epilog="\b\nExamples:\n  ragrid key list\n  ragrid key list --json")
@state_option
@json_option
def list_keys(state: Path | None, as_json: bool) -> None:
    """List the published keys: next, current, previous."""
    with administrator(state) as grid:
        _show(grid.send(administration.keys()), as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid key rotate\n  ragrid key rotate --json")
@state_option
@json_option
def rotate(state: Path | None, as_json: bool) -> None:
    """Sign with the next key from now on; tokens of the current one stay good."""
    with administrator(state) as grid:
        _show(grid.send(administration.rotate_keys()), as_json=as_json)


@command.command(epilog="\b\nExamples:\n  ragrid key withdraw KID\n  ragrid key withdraw KID --yes --json")
@click.argument("kid")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
def withdraw(kid: str, yes: bool, state: Path | None, as_json: bool) -> None:
    """Take a key out of use at once, because it leaked: every token that it signed is refused from now on."""
    if not yes:
        click.confirm(f"withdraw {kid} and end every token that it signed?", abort=True, err=True)
    with administrator(state) as grid:
        page = grid.send(administration.withdraw_key(kid))
    _show(page, as_json=as_json)
    say(f"{kid} is withdrawn, and every token that it signed with it")


def _show(page: KeyPage, *, as_json: bool) -> None:
    if as_json:
        show(to_builtins(page))
        return
    rows = [
        (key.kid, key.state, moment(key.created_s), moment(key.activated_s), moment(key.retired_s)) for key in page.keys
    ]
    draw(("key", "state", "published", "signed from", "signed until"), rows)
