"""`ragrid up`."""

import shutil
import sys
from pathlib import Path

import click

from ragrid.apply.bring_up import Outcome, bring_up
from ragrid.cli.ask import stream_answer
from ragrid.cli.context import client_of, json_option, say_not_yet, secret_of, site_of_file
from ragrid.cli.ingest import ingest_paths
from ragrid.cli.talk import console, progress, say, show
from ragrid.client import GridClient
from ragrid.drivers.local.locate import locate
from ragrid.drivers.local.site import Site
from ragrid.spec.load import LoadedGrid, load_grid
from ragrid.system.clock import SystemClock
from ragrid.system.files import PRIVATE, write_if_changed


@click.command(epilog="\b\nExamples:\n  ragrid up examples/local.yaml\n  ragrid up grid.yaml --state /srv/ragrid")
@click.argument("grid_file", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), help="State directory. Default: below the XDG state home.")
@json_option
def command(grid_file: Path | None, state: Path | None, as_json: bool) -> None:
    """Run the grid of GRID_FILE on this machine, or make what runs equal to it; a second time changes nothing.

    Without GRID_FILE, the grid that was started before is brought up again.
    """
    is_known = grid_file is None
    if grid_file is None:
        layout = locate(state)
        grid_file, state = layout.grid_file, layout.root
    loaded = load_grid(grid_file)
    site = site_of_file(loaded, state)
    missing = say_not_yet(loaded)
    with progress() as listener:
        outcome = bring_up(site, SystemClock(), listener)
    write_if_changed(site.layout.grid_file, loaded.source.read_bytes(), mode=PRIVATE)
    write_if_changed(site.layout.grid_origin, str(site.source_directory).encode(), mode=PRIVATE)
    if as_json:
        show(_document(site, outcome) | {"not_yet": missing})
        return
    _tell(site, outcome)
    if not is_known:  # the documents lie beside the file that the user named
        _welcome(loaded, site)
    _next_commands(site)


def _document(site: Site, outcome: Outcome) -> dict[str, object]:
    return {
        "grid": site.grid.grid,
        "address": site.grid.public_url,
        "ca_file": str(site.gateway_authority),
        "state": str(site.layout.root),
        "parts": [part.name for part in outcome.parts],
        "steps": [{"action": step.action, "part": step.part} for step in outcome.steps],
    }


def _tell(site: Site, outcome: Outcome) -> None:
    changed = f"{len(outcome.steps)} changed" if outcome.steps else "nothing to change"
    say(f"[green]grid {site.grid.grid} is up[/green]: {len(outcome.parts)} parts, {changed}")


def _welcome(loaded: LoadedGrid, site: Site) -> None:
    """Ingest the documents that the grid file names, and answer its first question."""
    welcome = loaded.grid.welcome
    if welcome is None:
        return
    with client_of(site, "writer") as writer:
        ingest_paths(writer, tuple(loaded.source.parent / path for path in welcome.documents))
    if welcome.question is None:
        return
    console.print(f"\n{welcome.question}", style="bold", markup=False)
    with client_of(site, "reader") as reader:
        stream_answer(reader, welcome.question, count=3)


def _next_commands(site: Site) -> None:
    authority = site.gateway_authority
    with GridClient(site.grid.public_url, ca_file=authority) as client:
        token = client.token("reader", secret_of(site, "reader"))
    typed = _typed_command()
    click.echo(
        f"""
address   {site.grid.public_url}
CA file   {authority}

Ask with curl (this reader's token is good for {token.expires_in_s / 60:.0f} minutes):

  curl --cacert {authority} \\
    -H 'Authorization: Bearer {token.access_token}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"question": "How do I stop the grid?"}}' \\
    {site.grid.public_url}/rag/v1/ask

Next:
  {typed} status
  {typed} ingest PATH
  {typed} ask "..."
"""
    )


def _typed_command() -> str:
    """Return the command as the user would have to type it: by its path when it is not on PATH."""
    on_path = shutil.which("ragrid")
    here = Path(sys.argv[0])
    return "ragrid" if on_path and here.name == "ragrid" and Path(on_path).samefile(here) else sys.argv[0]
