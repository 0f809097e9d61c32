"""`ragrid doctor`."""

import os
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from ragrid.apply.bring_up import local_driver
from ragrid.cli.context import json_option, site_of
from ragrid.cli.talk import show
from ragrid.drivers.local.layout import default_root, existing_layout
from ragrid.drivers.local.locate import locate
from ragrid.drivers.local.programs import possible_programs
from ragrid.errors import UsageError
from ragrid.spec.load import LoadedGrid, load_grid
from ragrid.system import owned
from ragrid.verify.doctor import Requirements, WantedPort, examine
from ragrid.verify.software import programs_of

_MARKS = {"ok": "[green]ok  [/green]", "warn": "[yellow]warn[/yellow]", "fail": "[red]FAIL[/red]"}


@click.command(epilog="\b\nExamples:\n  ragrid doctor examples/local.yaml\n  ragrid doctor --json | jq .findings")
@click.argument("grid_file", required=False, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), help="State directory. Default: as for `ragrid up`.")
@json_option
def command(grid_file: Path | None, state: Path | None, as_json: bool) -> int:
    """Examine this machine for the grid of GRID_FILE (else for the one that was started): each finding has its fix."""
    findings = examine(_requirements(grid_file, state))
    failed = sum(finding.status == "fail" for finding in findings)
    if as_json:
        show({"healthy": not failed, "findings": [asdict(finding) for finding in findings]})
        return 1 if failed else 0
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{_MARKS[finding.status]}  {escape(finding.name)}: {escape(finding.seen)}")
        if finding.fix:
            console.print(f"      wanted {escape(finding.wanted)}; {escape(finding.fix)}")
    console.print(f"{len(findings)} looked at, {failed} must be mended" if failed else "nothing stands in the way")
    return 1 if failed else 0


def _requirements(grid_file: Path | None, state: Path | None) -> Requirements:
    loaded, root = _meant(grid_file, state)
    if loaded is None:
        return Requirements(state_directory=root)
    host = next(iter(loaded.grid.hosts))
    site = site_of(loaded, host, existing_layout(root, loaded.grid.grid), possible_programs(loaded.grid))
    return Requirements(
        state_directory=root,
        ports=tuple(
            WantedPort(port.key, port.host, port.port) for part in local_driver(site).parts for port in part.ports
        ),
        own_pids=frozenset(owned.parts_running(site.layout.root)),
        programs=programs_of(
            loaded.grid.registry.kind,
            loaded.grid.registry.executable,
            postgres=str(site.programs.postgresql / "postgres") if loaded.grid.runs_database else None,
        ),
    )


def _meant(grid_file: Path | None, state: Path | None) -> tuple[LoadedGrid | None, Path]:
    """Return the grid to examine the machine for, and where its state lies or would lie."""
    if grid_file is not None:
        loaded = load_grid(grid_file)
        return loaded, state or default_root(loaded.grid.grid, os.environ)
    try:
        layout = locate(state)
    except UsageError:  # nothing was started yet: the machine alone is looked at
        return None, state or default_root("grid", os.environ)
    return (load_grid(layout.grid_file) if layout.grid_file.exists() else None), layout.root
