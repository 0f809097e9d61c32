"""docs/dependencies.md argues for every direct dependency, and for no other."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def rows(section: str) -> set[str]:
    """The names in the first column of a section's table."""
    text = (ROOT / "docs" / "dependencies.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return {name for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def names(requirements: list[str]) -> set[str]:
    """Names without versions and extras."""
    return {re.split(r"[\[<>=~ ]", one)[0] for one in requirements}


def test_python_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    every = [*project["project"]["dependencies"], *(name for extra in extras for name in extra)]
    assert rows("Python packages") == names(every)
    assert rows("For development only") == names(project["dependency-groups"]["dev"])


def test_debian_packages() -> None:
    script = (ROOT / "scripts" / "install-packages").read_text()
    needed = re.findall(r"^\s*(?:echo ')?run +([a-z0-9.+-]+)", script, flags=re.MULTILINE)
    assert len(needed) > 5
    assert rows("Debian packages") == set(needed)
