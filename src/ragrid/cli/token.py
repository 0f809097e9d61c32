"""`ragrid token`."""

from dataclasses import asdict
from pathlib import Path

import click
from msgspec import to_builtins
from rich.markup import escape

from ragrid.cli.administer import ADMINISTRATOR, administrator, moment, read_argument, until
from ragrid.cli.context import json_option, secret_of, site_of_state, state_option
from ragrid.cli.talk import say, show
from ragrid.client import GridClient, administration
from ragrid.client.login import CachedLogin, login_file
from ragrid.drivers.local.site import SEEDED_CLIENTS, Site
from ragrid.errors import UsageError
from ragrid.identity.inspect import Inspection, inspect_token
from ragrid.identity.keys import parse_jwks
from ragrid.system.clock import SystemClock


@click.group(epilog="\b\nExamples:\n  ragrid token issue --role reader\n  ragrid token issue | ragrid token inspect")
def command() -> None:
    """Issue, inspect and revoke access tokens."""


@command.command(
    epilog="\b\nExamples:\n  ragrid token issue --role reader\n  ragrid token issue --role admin --scope tokens:admin"
)
@click.option(
    "--role", type=click.Choice(SEEDED_CLIENTS), default="reader", show_default=True, help="What the token may do."
)
@click.option("--scope", help="Narrow it further: `service:action`, separated by spaces.")
@click.option("--memory-namespace", "namespaces", multiple=True, help="Only these of memory; `*` stands for anything.")
@click.option("--memory-user", help="Only memories of this user.")
@click.option("--login", "as_person", is_flag=True, help="Of the person who has run `ragrid login`, not of a role.")
@state_option
@json_option
def issue(
    role: str,
    *,
    scope: str | None,
    namespaces: tuple[str, ...],
    memory_user: str | None,
    as_person: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Print a new access token of a role; only who can read the state directory can do so."""
    site = site_of_state(state)
    if as_person and (scope or namespaces or memory_user):
        raise UsageError("--login: a person's token is the one that the sign-in gave; it cannot be narrowed here")
    if as_person:
        with _anonymous(site) as client:
            file = login_file(site.grid.public_url)
            access_token = CachedLogin(file, client, ca_file=site.gateway_authority)()
        show({"access_token": access_token}) if as_json else click.echo(access_token)
        return
    with _anonymous(site) as client:
        secret = secret_of(site, role)
        token = client.token(role, secret, scope, memory_namespaces=namespaces, memory_user=memory_user)
    if as_json:
        show({"access_token": token.access_token, "expires_in": token.expires_in_s, "scope": token.scope, "role": role})
        return
    click.echo(token.access_token)
    say(f"[dim]role {role}, good for {token.expires_in_s / 60:.0f} minutes, allows {token.scope}[/dim]")


@command.command(
    epilog="\b\nExamples:\n  ragrid token issue | ragrid token inspect\n  ragrid token inspect - --json < token"
)
@click.argument("token", default="-")
@state_option
@json_option
def inspect(token: str, state: Path | None, as_json: bool) -> int:
    """Show what a token says and whether the grid takes it; exit code 0 only when it does, else the reason is told.

    Without TOKEN, or with `-`, it is read from standard input, where no process list shows it.
    """
    site = site_of_state(state)
    text = read_argument(token, "TOKEN")
    with _anonymous(site) as client:
        keys = parse_jwks(bytes(client.send(administration.key_set())))
        found = inspect_token(text, keys, issuer=site.grid.public_url, clock=SystemClock())
        if found.fault is None:
            secret = secret_of(site, ADMINISTRATOR)
            if not client.send(administration.introspect(text, ADMINISTRATOR, secret)).get("active"):
                found = Inspection(found.header, found.claims, "token was revoked; ask for a fresh one")
    if as_json:
        show({"good": found.fault is None, **asdict(found)})
    else:
        _draw(found)
    return 0 if found.fault is None else 1


@command.command(
    epilog="\b\nExamples:\n  ragrid token revoke - < token\n  ragrid token revoke --client nightly\n"
    "  ragrid token revoke --subject ada --json"
)
@click.argument("token", required=False)
@click.option("--client", "client_id", help="End all tokens that this client has; it may get new ones.")
@click.option("--subject", help="End all tokens that speak for this person or client; they may get new ones.")
@state_option
@json_option
def revoke(token: str | None, *, client_id: str | None, subject: str | None, state: Path | None, as_json: bool) -> None:
    """Make one token worthless (`-` reads it from standard input), or all of a client or subject."""
    if sum(one is not None for one in (token, client_id, subject)) != 1:
        raise UsageError("ragrid token revoke: wanted one of TOKEN, --client and --subject")
    if token is not None:
        document, told = _end_one(site_of_state(state), read_argument(token, "TOKEN"))
    else:
        with administrator(state) as grid:
            document, told = _end_all(grid, client_id=client_id, subject=subject)
    if as_json:
        show(document)
    else:
        say(escape(told))


def _end_one(site: Site, text: str) -> tuple[dict[str, object], str]:
    """Revoke one token. Raises UsageError for what the grid would not take: who copied half of one must hear of it."""
    is_access_token = "." in text  # refresh tokens are opaque
    with _anonymous(site) as client:
        if is_access_token:
            keys = parse_jwks(bytes(client.send(administration.key_set())))
            fault = inspect_token(text, keys, issuer=site.grid.public_url, clock=SystemClock()).fault
            if fault is not None:
                raise UsageError(f"TOKEN: {fault}; nothing was revoked: wanted a whole token of this grid")
        client.send(administration.revoke_token(text, ADMINISTRATOR, secret_of(site, ADMINISTRATOR)))
    if is_access_token:
        return {"revoked": "token"}, "the token is worthless from now on"
    return {"revoked": "sign-in"}, "if this is a refresh token of the grid, its sign-in is over, with all its tokens"


def _end_all(grid: GridClient, *, client_id: str | None, subject: str | None) -> tuple[dict[str, object], str]:
    """End all tokens of a client or subject. Raises UsageError for a name that nobody has."""
    clients = {one.client_id for one in grid.send(administration.clients()).clients}
    people = set() if subject is None else {one.name for one in grid.send(administration.users()).users}
    option, name = ("--client", client_id) if subject is None else ("--subject", subject)
    if name not in clients | people:
        known = ", ".join(sorted(clients | people))
        raise UsageError(f"{option}: nobody is called {name!r}, and nothing was revoked; known are: {known}")
    ended = grid.send(administration.end_tokens(client_id=client_id, subject=subject))
    told = f"every token of {ended.name} from before {moment(ended.not_before_s)} is worthless from now on"
    return {"revoked": ended.kind, **to_builtins(ended)}, told


def _anonymous(site: Site) -> GridClient:
    return GridClient(site.grid.public_url, ca_file=site.gateway_authority)


def _draw(found: Inspection) -> None:
    for name, value in (*found.header.items(), *found.claims.items()):
        shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        is_time = name in ("iat", "exp", "nbf") and isinstance(value, int | float) and not isinstance(value, bool)
        click.echo(f"{name:<10} {f'{moment(value)} ({until(value)})' if is_time else shown}")
    say("[green]the grid takes it[/green]" if found.fault is None else f"[red]refused[/red]: {escape(found.fault)}")
