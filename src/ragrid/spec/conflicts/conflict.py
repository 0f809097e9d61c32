"""What is wrong between two keys of a grid."""

from dataclasses import dataclass

from ragrid.spec.faults import Path


@dataclass(frozen=True)
class Conflict:
    """Two keys that do not go together: `path` is where it is said, `involved` what else it depends on.

    When one of them could not be read, the conflict is moot. A mapping among `involved` stands for its keys too.
    """

    path: Path
    got: str
    wanted: str
    advice: str
    involved: tuple[Path, ...] = ()
