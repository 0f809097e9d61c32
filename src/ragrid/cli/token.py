"""`ragrid token`."""

from pathlib import Path

import click

from ragrid.cli.context import json_option, secret_of, site_of_state, state_option
from ragrid.cli.talk import say, show
from ragrid.client import GridClient
from ragrid.drivers.local.site import SEEDED_CLIENTS


@click.group(epilog="\b\nExamples:\n  ragrid token issue --role reader\n  ragrid token issue --role writer --json")
def command() -> None:
    """Issue access tokens."""


@command.command(
    epilog="\b\nExamples:\n  ragrid token issue --role reader\n  ragrid token issue --role admin --scope tokens:admin"
)
@click.option(
    "--role", type=click.Choice(SEEDED_CLIENTS), default="reader", show_default=True, help="What the token may do."
)
@click.option("--scope", help="Narrow it further: `service:action`, separated by spaces.")
@state_option
@json_option
def issue(role: str, scope: str | None, state: Path | None, as_json: bool) -> None:
    """Print a new access token of a role; only who can read the state directory can do so."""
    site = site_of_state(state)
    with GridClient(site.grid.public_url, ca_file=site.secrets.authority_certificate) as client:
        token = client.token(role, secret_of(site, role), scope)
    if as_json:
        show({"access_token": token.access_token, "expires_in": token.expires_in_s, "scope": token.scope, "role": role})
        return
    click.echo(token.access_token)
    say(f"[dim]role {role}, good for {token.expires_in_s / 60:.0f} minutes, allows {token.scope}[/dim]")
