"""`ragrid render`."""

from collections.abc import Mapping
from pathlib import Path

import click
from rich.markup import escape

from ragrid.apply.bring_up import local_driver
from ragrid.cli.context import grid_file_of, grid_option, json_option, local_host, say_not_yet, site_of
from ragrid.cli.talk import say, show
from ragrid.drivers.local.layout import Layout, existing_layout
from ragrid.drivers.local.prepare import prepare
from ragrid.drivers.local.programs import find_programs, possible_programs
from ragrid.drivers.local.rendered import rendered_files
from ragrid.errors import UsageError
from ragrid.spec.load import load_grid
from ragrid.system import owned
from ragrid.system.clock import SystemClock
from ragrid.system.files import PRIVATE, write_if_changed

EXAMPLES = """\b
Examples:
  ragrid render out --grid examples/tron.yaml
  ragrid render out --grid examples/local.yaml --runnable"""


@click.command(epilog=EXAMPLES)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@grid_option
@click.option("--runnable", is_flag=True, help="Also make secrets, certificates and model: runs without ragrid.")
@json_option
def command(directory: Path, grid_file: Path | None, runnable: bool, as_json: bool) -> None:
    """Write every generated file of a grid to DIRECTORY, one folder for each host; nothing is started."""
    loaded = load_grid(grid_file_of(grid_file))
    if runnable:
        local_host(loaded)  # hosts that share an authority are more than one folder can be made for
    missing = say_not_yet(loaded)
    written: list[str] = []
    for host in loaded.grid.hosts:
        layout = _layout(directory / host, loaded.grid.grid, runnable=runnable)
        programs = find_programs(loaded.grid) if runnable else possible_programs(loaded.grid)
        site = site_of(loaded, host, layout, programs)
        if runnable:
            prepare(site, SystemClock(), say=say)
        for name, content in rendered_files(local_driver(site)).items():
            write_if_changed(layout.root / name, content, mode=PRIVATE)
            written.append(f"{host}/{name}")
    _report(directory, written, missing, as_json=as_json)


def _layout(root: Path, grid: str, *, runnable: bool) -> Layout:
    layout = existing_layout(root, grid) if runnable else Layout(root.absolute())
    if layout.marker.exists() and (not runnable or owned.parts_running(layout.root)):
        raise UsageError(f"{layout.root}: got the state directory of a grid; choose another folder for rendered files")
    return layout


def _report(directory: Path, written: list[str], missing: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        show({"directory": str(directory.absolute()), "files": written, "not_yet": missing})
        return
    for name in written:
        click.echo(name)
    where = escape(str(directory))
    say(f"{len(written)} files in {where}; a host's are run by: supervisord -n -c HOST/etc/supervisord.conf")
