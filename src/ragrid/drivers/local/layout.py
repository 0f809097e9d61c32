"""The one directory that a grid lives in: where everything lies, and how a directory is known to be ours."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ragrid.errors import StateError, UsageError
from ragrid.system.files import PRIVATE, write_atomic

#: Raised when the meaning of the directory's content changes; an older ragrid refuses a newer directory.
FORMAT = 1
#: A unix socket's path holds 107 bytes (`man 7 unix`); the longest name that we put below the root takes this many.
LONGEST_SOCKET_NAME = len("/run/supervisor.sock.123456789")
MARKER = "ragrid-state.json"
_ADVICE = "nothing was changed; restore the directory, or choose another with --state DIR"


@dataclass(frozen=True)
class Layout:
    """Names of everything under one state directory."""

    root: Path

    @property
    def etc(self) -> Path:
        """Rendered files: plain, repeatable, without secrets."""
        return self.root / "etc"

    @property
    def secrets(self) -> Path:
        """Keys and client secrets, 0600 in a 0700 directory."""
        return self.root / "secrets"

    @property
    def data(self) -> Path:
        """What must not be lost; one directory a part."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """One log a part."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Sockets and locks of what runs now."""
        return self.root / "run"

    @property
    def locks(self) -> Path:
        """One lock a part, held by its processes."""
        return self.run / "locks"

    @property
    def marker(self) -> Path:
        """The file that says whose directory this is."""
        return self.root / MARKER

    @property
    def journal(self) -> Path:
        """Every step that was ever run here."""
        return self.root / "journal.jsonl"

    @property
    def grid_file(self) -> Path:
        """The grid file as it was last applied."""
        return self.root / "grid.yaml"

    @property
    def grid_origin(self) -> Path:
        """The folder that the grid file was applied from."""
        return self.root / "grid.origin"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor listens."""
        return self.run / "supervisor.sock"

    def directories(self) -> tuple[Path, ...]:
        """Return every directory that is made before anything is rendered."""
        return (self.root, self.etc, self.secrets, self.data, self.log, self.run, self.locks)


def state_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of all grids of this user, after the XDG base directory specification."""
    home = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/root")) / ".local" / "state")
    return Path(home) / "ragrid"


def default_root(grid: str, environment: Mapping[str, str]) -> Path:
    """Return the state directory of `grid` when nobody names one."""
    return state_home(environment) / grid


def open_layout(root: Path, grid: str) -> Layout:
    """Return the layout under `root`, making it when there is nothing yet.

    Raises StateError when `root` holds something else: nothing of it is changed.
    """
    layout = existing_layout(root, grid)
    for directory in layout.directories():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not layout.marker.exists():
        content = json.dumps({"format": FORMAT, "grid": grid}) + "\n"
        write_atomic(layout.marker, content.encode(), mode=PRIVATE)
    return layout


def existing_layout(root: Path, grid: str) -> Layout:
    """Return the layout under `root` without making anything.

    Raises StateError when `root` is not empty and not the state of `grid`, and UsageError when its path is too long.
    """
    layout = Layout(root.absolute())
    if len(os.fsencode(layout.root)) + LONGEST_SOCKET_NAME > 107:
        room = 107 - LONGEST_SOCKET_NAME
        raise UsageError(
            f"{layout.root}: got a path of {len(os.fsencode(layout.root))} bytes, wanted {room} at most"
            " (sockets below it must fit into 107); choose a shorter one with --state DIR"
        )
    if not layout.root.exists():
        return layout
    if not layout.root.is_dir():
        raise StateError(f"{layout.root}: got a file, wanted a directory; choose another with --state DIR")
    if layout.marker.exists():
        _check_marker(layout.marker, grid)
    elif any(layout.root.iterdir()):
        found = ", ".join(sorted(entry.name for entry in layout.root.iterdir())[:5])
        raise StateError(
            f"{layout.root}: got a directory without {MARKER} that holds {found}; nothing was changed;"
            " choose an empty directory with --state DIR"
        )
    return layout


def read_marker(marker: Path) -> str:
    """Return the name of the grid that `marker` claims its directory for.

    Raises StateError when it is not a marker of this format; nothing is changed.
    """
    try:
        content = json.loads(marker.read_bytes())
        found_format, found_grid = content["format"], str(content["grid"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{marker}: cannot be read as a state marker ({error!r}); {_ADVICE}") from error
    if found_format != FORMAT:
        raise StateError(f"{marker}: got format {found_format!r}, wanted {FORMAT}; {_ADVICE}")
    return found_grid


def _check_marker(marker: Path, grid: str) -> None:
    found_grid = read_marker(marker)
    if found_grid != grid:
        raise StateError(f"{marker}: got the state of grid {found_grid!r}, wanted {grid!r}; {_ADVICE}")
