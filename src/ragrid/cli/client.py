"""`ragrid client`."""

from pathlib import Path
from typing import BinaryIO

import click
from msgspec import to_builtins
from rich.markup import escape

from ragrid.cli.administer import administrator, draw, moment
from ragrid.cli.context import json_option, state_option
from ragrid.cli.talk import say, show
from ragrid.client import administration
from ragrid.errors import UsageError
from ragrid.identity.strict import strict_object


@click.group(epilog="\b\nExamples:\n  ragrid client list\n  ragrid client create nightly --role reader")
def command() -> None:
    """Make, list and delete the OAuth clients that programs call the grid with."""


@command.command(name="list", epilog="\b\nExamples:\n  ragrid client list\n  ragrid client list --json")
@state_option
@json_option
def list_clients(state: Path | None, as_json: bool) -> None:
    """List every client, without its secret."""
    with administrator(state) as grid:
        clients = grid.send(administration.clients()).clients
    if as_json:
        show({"clients": to_builtins(clients)})
        return
    rows = [
        (one.client_id, one.tenant, " ".join(one.roles), "settings" if one.declared else "made", moment(one.created_s))
        for one in clients
    ]
    draw(("client", "tenant", "roles", "from", "created"), rows)


@command.command(
    epilog="\b\nExamples:\n  ragrid client create nightly --role reader\n"
    "  ragrid client create loader --role writer --tenant team --json"
)
@click.argument("client_id")
@click.option("--role", "roles", multiple=True, help="What it may do by itself; may be given several times.")
@click.option("--tenant", help="Whose vectors and memories it sees. Default: the grid's first tenant.")
@click.option("--redirect-uri", "redirect_uris", multiple=True, help="Where people are sent back to after signing in.")
@click.option("--public", is_flag=True, help="It keeps no secret and acts for people only (an app, a command line).")
@click.option("--jwks", "key_file", type=click.File("rb"), help="It proves itself with these public keys (RFC 7517).")
@state_option
@json_option
def create(
    client_id: str,
    *,
    roles: tuple[str, ...],
    tenant: str | None,
    redirect_uris: tuple[str, ...],
    public: bool,
    key_file: BinaryIO | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Make a client and print its secret, this one time."""
    wanted = administration.create_client(
        client_id,
        roles,
        tenant=tenant,
        redirect_uris=redirect_uris,
        public=public,
        jwks=None if key_file is None else _key_set(key_file),
    )
    with administrator(state) as grid:
        made = grid.send(wanted)
    if as_json:
        show(to_builtins(made))
        return
    if not made.client_secret:
        say(f"[dim]{escape(made.client_id)} is {'public' if public else 'known by its key'}; it has no secret[/dim]")
        return
    click.echo(made.client_secret)
    say(f"[dim]the secret of {escape(made.client_id)}: nobody can read it again, so keep it now[/dim]")


@command.command(epilog="\b\nExamples:\n  ragrid client delete nightly\n  ragrid client delete nightly --yes --json")
@click.argument("client_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
def delete(client_id: str, yes: bool, state: Path | None, as_json: bool) -> None:
    """Delete a client; all its tokens are refused from now on."""
    if not yes:
        click.confirm(f"delete {client_id} and end all its tokens?", abort=True, err=True)
    with administrator(state) as grid:
        grid.send(administration.delete_client(client_id))
    if as_json:
        show({"client_id": client_id, "deleted": True})
    else:
        say(escape(f"{client_id} is deleted, and its tokens with it"))


def _key_set(file: BinaryIO) -> dict[str, object]:
    try:
        return strict_object(file.read())
    except ValueError as error:
        raise UsageError(f"{file.name}: {error}; wanted a JSON Web Key Set (RFC 7517)") from error
