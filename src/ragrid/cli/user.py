"""`ragrid user`."""

import sys
from pathlib import Path

import click
from msgspec import to_builtins
from rich.markup import escape

from ragrid.cli.administer import administrator, draw, moment
from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import say, show
from ragrid.client import administration
from ragrid.errors import UsageError


@click.group(epilog="\b\nExamples:\n  ragrid user add ada --role writer\n  ragrid user list")
def command() -> None:
    """Look after the people who may sign in."""


@command.command(
    epilog="\b\nExamples:\n  ragrid user add ada --role writer\n  ragrid user add ada --role reader < password"
)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="What they may do; may be given several times.")
@click.option("--tenant", help="Whose vectors and memories they see. Default: the grid's first tenant.")
@state_option
@json_option
def add(name: str, roles: tuple[str, ...], tenant: str | None, state: Path | None, as_json: bool) -> None:
    """Add a person. The password is asked for, or read from standard input when that is no terminal."""
    password = _password()
    with administrator(state) as grid:
        made = grid.send(administration.add_user(name, password, roles, tenant))
    if as_json:
        show({"name": made.name, "tenant": made.tenant, "roles": list(made.roles)})
    else:
        say(f"{escape(made.name)} may sign in: `ragrid login`")


@command.command(name="list", epilog="\b\nExamples:\n  ragrid user list\n  ragrid user list --json")
@state_option
@json_option
def list_users(state: Path | None, as_json: bool) -> None:
    """List the people who may sign in."""
    with administrator(state) as grid:
        users = grid.send(administration.users()).users
    if as_json:
        show({"users": to_builtins(users)})
        return
    rows = [
        (one.name, one.tenant, " ".join(one.roles), "disabled" if one.disabled else "", moment(one.created_s))
        for one in users
    ]
    draw(("name", "tenant", "roles", "", "created"), rows)


@command.command(epilog="\b\nExamples:\n  ragrid user disable ada\n  ragrid user disable ada --undo --json")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let them in again.")
@state_option
@json_option
def disable(name: str, undo: bool, state: Path | None, as_json: bool) -> None:
    """Keep a person out; all their tokens are refused from now on."""
    with administrator(state) as grid:
        grid.send(administration.change_user(name, disabled=not undo))
    if as_json:
        show({"name": name, "disabled": not undo})
    else:
        say(escape(f"{name} may sign in again" if undo else f"{name} is kept out, and signed out everywhere"))


@command.command(epilog="\b\nExamples:\n  ragrid user password ada\n  ragrid user password ada --json < password")
@click.argument("name")
@state_option
@json_option
def password(name: str, state: Path | None, as_json: bool) -> None:
    """Give a person another password; they are signed out everywhere."""
    text = _password()
    with administrator(state) as grid:
        grid.send(administration.change_user(name, password=text))
    if as_json:
        show({"name": name, "changed": True})
    else:
        say(escape(f"{name} has a new password, and is signed out everywhere"))


def _password() -> str:
    if sys.stdin.isatty():
        text: str = click.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise UsageError("password: got nothing; type it, or give it as a line on standard input")
    return text
