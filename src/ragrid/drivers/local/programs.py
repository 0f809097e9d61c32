"""Finds the programs that a grid runs, and asks them for their versions."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ragrid.drivers.local.site import Programs, interpreter
from ragrid.errors import MissingError, RagridError
from ragrid.spec.models import Grid
from ragrid.system.process import find_program, run

#: Program -> the Debian package that has it, and the arguments that print its version.
PACKAGES = {
    "nginx": ("nginx-light", ("-v",)),
    "etcd": ("etcd-server", ("--version",)),
    "consul": ("consul", ("version",)),
    "prometheus": ("prometheus", ("--version",)),
    "prometheus-node-exporter": ("prometheus-node-exporter", ("--version",)),
    "postgres": ("postgresql", ("--version",)),
}
#: Debian keeps each major version in a folder of its own, none of them on PATH.
_POSTGRESQL = Path("/usr/lib/postgresql")
_POSTGRESQL_OLDEST = 15
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?:[-+~][\w.]+)?")


def needed_programs(grid: Grid) -> tuple[str, ...]:
    """Return the names of the programs that `grid` runs."""
    database = ("postgres",) if grid.runs_database else ()
    return ("nginx", grid.registry.kind, "prometheus", "prometheus-node-exporter", *database)


def find_programs(grid: Grid) -> Programs:
    """Return the paths and versions of what `grid` needs.

    Raises MissingError with the command that installs everything missing at once.
    """
    needed = needed_programs(grid)
    paths = _paths(grid)
    missing = [name for name in needed if name not in paths]
    if missing:
        packages = " ".join(PACKAGES[name][0] for name in missing)
        raise MissingError(
            f"{', '.join(missing)}: not installed; run `make up` again, or:"
            f" sudo apt-get install --no-install-recommends {packages}{_elsewhere(grid, missing)}"
        )
    with ThreadPoolExecutor() as pool:
        versions = pool.map(lambda name: _version(name, paths[name]), needed)
    return _programs(grid, paths, tuple(zip(needed, versions, strict=True)))


def possible_programs(grid: Grid) -> Programs:
    """Return the paths of all programs as they are here, or as Debian has them; for files that another host runs."""
    return _programs(grid, _paths(grid), ())


def _programs(grid: Grid, paths: Mapping[str, Path], versions: tuple[tuple[str, str], ...]) -> Programs:
    found = {name: paths.get(name, Path("/usr/bin") / name) for name in PACKAGES.keys() - {"postgres"}}
    found["postgres"] = paths.get("postgres", _POSTGRESQL / str(_POSTGRESQL_OLDEST) / "bin" / "postgres")
    return Programs(
        python=interpreter(),
        nginx=found["nginx"],
        etcd=found["etcd"],
        consul=found["consul"],
        prometheus=found["prometheus"],
        node_exporter=found["prometheus-node-exporter"],
        postgresql=grid.database.programs or found["postgres"].parent,
        versions=versions,
    )


def _paths(grid: Grid) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    if (server := _postgres(grid)) is not None:
        paths["postgres"] = server
    for name in PACKAGES.keys() - {"postgres"}:
        with contextlib.suppress(MissingError):
            # A supervised process has another working directory than the user who wrote a relative path.
            paths[name] = find_program(grid.registry.executable if name == grid.registry.kind else name).absolute()
    return paths


def _postgres(grid: Grid) -> Path | None:
    """Return the server in the folder that the grid names, else the newest that Debian has installed."""
    if grid.database.programs is not None:
        named = grid.database.programs / "postgres"
        return named if named.exists() else None
    found = {path.parts[-3]: path for path in _POSTGRESQL.glob("*/bin/postgres")}
    numbers = [int(version) for version in found if version.isdecimal() and int(version) >= _POSTGRESQL_OLDEST]
    return found[str(max(numbers))] if numbers else None


def _elsewhere(grid: Grid, missing: Sequence[str]) -> str:
    """Say how to get a PostgreSQL without its cluster, or how to name a registry that lies where we do not look."""
    if "postgres" in missing:
        return "; `scripts/install-packages database` installs PostgreSQL without Debian's own cluster, which would run"
    if grid.registry.kind not in missing:
        return ""
    return f"; looked for {grid.registry.executable!r}: write the path of another as registry.executable"


def _version(name: str, path: Path) -> str:
    try:
        said = run((str(path), *PACKAGES[name][1]), timeout_s=10.0, check=False)
    except RagridError:
        return "unknown"
    found = _VERSION.search(said.stdout + said.stderr)
    return found[0] if found else "unknown"
