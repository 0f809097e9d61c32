"""`ragrid login`."""

from pathlib import Path

import click
from rich.markup import escape

from ragrid.cli.context import json_option, site_of_state, state_option
from ragrid.cli.talk import say, show
from ragrid.client import GridClient
from ragrid.client.login import CachedLogin, begin, login_file, wait_for_person


@click.command(
    epilog="\b\nExamples:\n  ragrid login\n  ragrid login --address https://grid.example:8443 --ca-file ca.crt"
)
@click.option("--address", help="The gateway's address. Default: that of the grid on this machine.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The grid's own authority, for `--address`. Default: the system's.",
)
@click.option("--scope", help="Ask for less than all that you may do: `service:action`, separated by spaces.")
@click.option("--end", "is_end", is_flag=True, help="Sign out.")
@state_option
@json_option
def command(
    *, address: str | None, ca_file: Path | None, scope: str | None, is_end: bool, state: Path | None, as_json: bool
) -> None:
    """Sign in as a person: open the page that is shown, and allow it there.

    `ragrid ask`, `ingest` and `memory` then act as that person, and `ragrid token issue --login` shows the token.
    """
    if address is None:
        site = site_of_state(state)
        address, ca_file = site.grid.public_url, site.gateway_authority
    with GridClient(address, ca_file=ca_file) as client:
        path = login_file(client.address)
        login = CachedLogin(path, client, ca_file=ca_file)
        if is_end:
            login.end()
            say("signed out")
            return
        codes = client.send(begin(scope))
        say(f"open {codes.verification_uri} and type [bold]{codes.user_code}[/bold], or open")
        say(f"  {codes.verification_uri_complete}")
        say("[dim]waiting until you have allowed it there[/dim]")
        tokens = wait_for_person(client, codes)
        login.keep(tokens)
    if as_json:
        show({"address": client.address, "scope": tokens.scope, "file": str(path)})
    else:
        say(f"[green]signed in[/green]; allows {tokens.scope}; kept in {escape(str(path))}")
