"""Which state directory a verb means when nobody names one."""

import os
from collections.abc import Mapping
from pathlib import Path

from ragrid.drivers.local.layout import MARKER, Layout, existing_layout, read_marker, state_home
from ragrid.errors import UsageError

#: Names the state directory for a whole shell session.
VARIABLE = "RAGRID_STATE"


def locate(state: Path | None, environment: Mapping[str, str] = os.environ) -> Layout:
    """Return the layout of the grid that is meant: `--state`, else $RAGRID_STATE, else the only grid there is.

    Raises UsageError when there is none, or more than one to choose from.
    """
    chosen = state or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    if chosen is None:
        chosen = _only_grid(state_home(environment))
    if not (chosen / MARKER).exists():
        raise UsageError(f"{chosen}: got no grid here, wanted a state directory; start one with `ragrid up GRID.yaml`")
    return existing_layout(chosen, read_marker(chosen / MARKER))


def _only_grid(home: Path) -> Path:
    grids = sorted(marker.parent for marker in home.glob(f"*/{MARKER}"))
    if not grids:
        raise UsageError(f"{home}: no grid was started yet; start one with `ragrid up examples/local.yaml`")
    if len(grids) > 1:
        choices = ", ".join(str(grid) for grid in grids)
        raise UsageError(f"got no --state, wanted one of the {len(grids)} grids of this user: {choices}")
    return grids[0]
