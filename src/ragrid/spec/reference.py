"""docs/reference/grid.md, written from the models: `python -m ragrid.spec.reference > docs/reference/grid.md`."""

import sys
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from ragrid.spec.models import Grid
from ragrid.spec.not_yet import meaning
from ragrid.spec.outline import Shape, keys_of, sections_of
from ragrid.spec.section import Section
from ragrid.spec.show import plain

_TOP = """\
# grid.yaml

Every key that a grid file may hold. This page is written from the models; to change it, change them and run
`python -m ragrid.spec.reference > docs/reference/grid.md`.

- The file is YAML 1.2, at most 256 KiB: `on`, `no` and `02:30` are text. Tags, anchors and aliases are refused.
- An unknown key is an error that names the nearest known one. All errors of a file are told at once.
- A key that is left out has its default; a section that is left empty (`auth:`) has all of its defaults.
- A secret is a reference: `env:NAME` (environment variable) or `file:PATH` (mode 0600; a relative path is looked for
  beside the grid file). The secret itself is refused.
- A key that is **not used yet** is checked, and nothing acts on it. `ragrid config show`, `render` and `up` name those
  that a file sets.
- `ragrid config show --grid FILE` prints each value and where it came from; `ragrid schema` prints the JSON Schema.
"""


def grid_reference() -> str:
    """Return the page; the same models give the same text."""
    places: dict[type[Section], list[str]] = {}
    for path, section in sections_of(Grid):
        places.setdefault(section, []).append(path)
    tables = (line for section, paths in places.items() for line in _table(section, paths))
    return "\n".join((_TOP, *tables)).rstrip("\n") + "\n"


def _table(section: type[Section], paths: list[str]) -> Iterator[str]:
    heading = ", ".join(f"`{path}`" for path in paths)
    yield f"## {heading if all(paths) else 'The grid'}\n"
    yield f"{(section.__doc__ or '').strip()}\n"
    yield "| key | holds | default | meaning |"
    yield "|---|---|---|---|"
    yield from (_row(key, field, shape) for key, field, shape in keys_of(section))
    yield ""


def _row(key: str, field: FieldInfo, shape: Shape) -> str:
    return f"| `{key}` | {shape.name} | {_default(field, shape)} | {meaning(field, shape)} |"


def _default(field: FieldInfo, shape: Shape) -> str:
    if field.is_required():
        return "**required**"
    if "Default:" in (field.description or ""):
        return "see there"
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if shape.section is not None:
        return "its defaults"
    written = plain(value)
    if isinstance(written, bool):
        return "`true`" if written else "`false`"
    return f"`{written}`" if written not in ([], {}) else "empty"


if __name__ == "__main__":
    sys.stdout.write(grid_reference())
