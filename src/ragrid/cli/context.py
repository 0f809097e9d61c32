"""What most verbs start from: the grid that is meant, and the host that this machine is in it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.markup import escape

import ragrid
from ragrid.cli.talk import say
from ragrid.client import ClientCredentials, GridClient
from ragrid.drivers.local.layout import Layout, default_root, existing_layout
from ragrid.drivers.local.locate import locate
from ragrid.drivers.local.programs import find_programs
from ragrid.drivers.local.site import Programs, Site
from ragrid.errors import RagridError, SpecError, StateError, UnreachableError
from ragrid.spec.load import LoadedGrid, load_grid
from ragrid.spec.not_yet import asked_in_vain

F = TypeVar("F", bound=Callable[..., Any])


def state_option(command: F) -> F:
    """Add `--state` to a verb."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help="State directory of the grid. Default: $RAGRID_STATE, else the only grid of this user.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json` to a verb."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")(command)


def grid_option(command: F) -> F:
    """Add `--grid` to a verb that reads a grid file and needs nothing to run; see `grid_file_of`."""
    return click.option(
        "--grid",
        "grid_file",
        type=click.Path(path_type=Path),
        help="Grid file. Default: grid.yaml in this folder, else that of the grid that was started.",
    )(command)


def grid_file_of(given: Path | None) -> Path:
    """Return the grid file that is meant; it need not be there."""
    here = Path("grid.yaml")
    if given is not None or here.exists():
        return given or here
    try:
        return locate(None).grid_file
    except RagridError:  # none or several were started
        return here


def say_not_yet(loaded: LoadedGrid) -> Mapping[str, str]:
    """Warn in one line of the keys that the file sets though nothing acts on them yet; return what is missing."""
    missing = asked_in_vain(loaded)
    if missing:
        found = "; ".join(
            f"{what}: {', '.join(key for key in missing if missing[key] == what)}"
            for what in sorted(set(missing.values()))
        )
        say(f"[yellow]note[/yellow]: {escape(f'{loaded.source}: {found}')}")
    return missing


def site_of_file(loaded: LoadedGrid, state: Path | None) -> Site:
    """Return the site that `ragrid up` would run for a loaded grid file."""
    grid = loaded.grid
    layout = existing_layout(state or default_root(grid.grid, os.environ), grid.grid)
    return site_of(loaded, local_host(loaded), layout, find_programs(grid))


def site_of(loaded: LoadedGrid, host: str, layout: Layout, programs: Programs) -> Site:
    """Return one host of a loaded grid."""
    return Site(
        grid=loaded.grid,
        host=host,
        layout=layout,
        programs=programs,
        version=ragrid.__version__,
        source_directory=_source_directory(loaded),
        as_root=os.geteuid() == 0,
    )


def _source_directory(loaded: LoadedGrid) -> Path:
    """Return the folder of the user's own grid file, also when its copy in a state directory was loaded."""
    source = loaded.source.absolute()
    layout = Layout(source.parent)
    if source == layout.grid_file and layout.grid_origin.exists():
        return Path(layout.grid_origin.read_text(encoding="utf-8"))
    return source.parent


def site_of_state(state: Path | None) -> Site:
    """Return the site of a grid that was started before."""
    layout = locate(state)
    if not layout.grid_file.exists():
        raise UnreachableError(f"{layout.grid_file}: the grid was never brought up whole; run `ragrid up GRID.yaml`")
    return site_of_file(load_grid(layout.grid_file), layout.root)


def local_host(loaded: LoadedGrid) -> str:
    """Return the only host of the grid; a grid of several is not for one machine."""
    hosts = tuple(loaded.grid.hosts)
    if len(hosts) != 1:
        found = f"{len(hosts)} ({', '.join(hosts)})"
        raise SpecError(
            [f"{loaded.source}: hosts: got {found}, wanted 1; `ragrid render DIR --grid FILE` writes them all"]
        )
    return hosts[0]


def client_of(site: Site, role: str) -> GridClient:
    """Return a client of the running grid that acts as the seeded client `role`, with a token that stays fresh."""
    authority = site.gateway_authority
    credentials = ClientCredentials(GridClient(site.grid.public_url, ca_file=authority), role, secret_of(site, role))
    return GridClient(site.grid.public_url, ca_file=authority, token=credentials)


def secret_of(site: Site, client_id: str) -> str:
    """Return the secret of a seeded client. Raises StateError when its file is gone."""
    path = site.secrets.client_secret(client_id)
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; run `ragrid up` to make it again") from error
