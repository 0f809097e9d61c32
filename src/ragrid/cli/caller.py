"""As whom the verbs for everyday work call a grid: with a given token, as the person who is signed in, or as a role."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from ragrid.cli.administer import read_argument
from ragrid.cli.context import client_of, site_of_state
from ragrid.cli.talk import say
from ragrid.client import GridClient
from ragrid.client.login import CachedLogin, SignIn, login_file, sign_ins
from ragrid.client.transport import checked_address
from ragrid.drivers.local.site import Site
from ragrid.errors import AuthError, UsageError
from ragrid.identity.strict import decode_base64url, strict_object

#: Holds an access token for a whole shell session.
VARIABLE = "RAGRID_TOKEN"


@dataclass(frozen=True)
class Caller:
    """What the command line says about which grid is meant, and as whom."""

    address: str | None = None
    ca_file: Path | None = None
    token: str | None = None
    state: Path | None = None


def caller_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--address`, `--ca-file`, `--token` and `--state`, handed over as `caller`."""

    @functools.wraps(command)
    def with_caller(
        *arguments: Any,
        address: str | None,
        ca_file: Path | None,
        token: str | None,
        state: Path | None,
        **options: Any,
    ) -> Any:
        return command(*arguments, caller=Caller(address, ca_file, token, state), **options)

    wrapped: Callable[..., Any] = with_caller
    for option in (
        click.option(
            "--state",
            type=click.Path(path_type=Path, file_okay=False),
            help="State directory of the grid. Default: $RAGRID_STATE, else the only grid of this user.",
        ),
        click.option(
            "--token",
            help="An access token; `-` reads it from standard input. Default: $RAGRID_TOKEN, else that of "
            "`ragrid login`, else that of a role of the grid on this machine.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The grid's own authority, for `--address`. Default: that of the sign-in, else the system's.",
        ),
        click.option("--address", help="The gateway's address. Default: the grid on this machine, else the sign-in's."),
    ):
        wrapped = option(wrapped)
    return wrapped


def grid_of(caller: Caller, role: str) -> GridClient:
    """Return a client of the grid that is meant.

    It calls with the given token, else as the person who has signed in at that address, else, for a grid on this
    machine, as its seeded client `role`. Raises AuthError when it is another machine's and nobody has signed in.
    """
    place = _place(caller)
    address, ca_file = place.address, place.ca_file
    given = caller.token or os.environ.get(VARIABLE)
    if given:
        return GridClient(address, ca_file=ca_file, token=read_argument(given, "--token"))
    if place.sign_in is not None:
        login = CachedLogin(place.sign_in.file, GridClient(address, ca_file=ca_file), ca_file=ca_file)
        say(f"[dim]as {escape(_subject_of(login()))}, who is signed in[/dim]")
        return GridClient(address, ca_file=ca_file, token=login)
    if place.site is None:
        raise AuthError(
            f"{address}: nobody is signed in there; run `ragrid login --address {address}`, or give --token"
        )
    return client_of(place.site, role)


@dataclass(frozen=True)
class _Place:
    """A gateway, what it is verified with, and what on this machine lets somebody in there."""

    address: str
    ca_file: Path | None
    site: Site | None
    sign_in: SignIn | None


def _place(caller: Caller) -> _Place:
    kept = {one.file: one for one in sign_ins()}
    if caller.address is not None:
        address = checked_address(caller.address)
        sign_in = kept.get(login_file(address))
        return _Place(address, caller.ca_file or (sign_in.ca_file if sign_in else None), None, sign_in)
    try:
        site = site_of_state(caller.state)
    except UsageError:
        if caller.state is not None or not kept:
            raise
        sign_in = _only(list(kept.values()))
        return _Place(sign_in.address, caller.ca_file or sign_in.ca_file, None, sign_in)
    address = site.grid.public_url
    return _Place(address, caller.ca_file or site.gateway_authority, site, kept.get(login_file(address)))


def _only(kept: Sequence[SignIn]) -> SignIn:
    """Return the one sign-in there is, for a machine without a grid."""
    if len(kept) > 1:
        places = ", ".join(one.address for one in kept)
        raise UsageError(f"--address: got none, wanted one of the {len(kept)} where you are signed in: {places}")
    return kept[0]


def _subject_of(token: str) -> str:
    """Return whom a token of our own keeping speaks for; the grid looks at it, we only show it."""
    try:
        return str(strict_object(decode_base64url(token.split(".")[1])).get("sub", "somebody"))
    except (ValueError, IndexError):
        return "somebody"
