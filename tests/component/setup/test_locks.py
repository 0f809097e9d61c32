"""The locks fit pyproject.toml, hold a hash for each file, and leave the index to the user's configuration."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[3]
REQUIREMENTS = REPOSITORY / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))
PIN = re.compile(r"^(\S+)==(\S+)[^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE)


def pins(*names: str) -> dict[str, list[str]]:
    """Each package and its versions; several where they differ by Python."""
    found: dict[str, list[str]] = {}
    for name in names:
        for package, version in PIN.findall((REQUIREMENTS / name).read_text()):
            found.setdefault(canonicalize_name(package), []).append(version)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_with_hashes(lock: Path) -> None:
    rest = PIN.sub("", lock.read_text())
    assert rest == ""


def test_what_the_project_asks_for_is_pinned_in_a_version_that_fits() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    for wanted, locks in (
        (project["project"]["dependencies"], ("run.lock",)),
        (project["dependency-groups"]["dev"], ("run.lock", "dev.lock")),
    ):
        pinned = pins(*locks)
        for line in wanted:
            requirement = Requirement(line)
            versions = pinned.get(canonicalize_name(requirement.name), [])
            assert versions, f"{line}: not in {locks}; run `make locks`"
            assert all(requirement.specifier.contains(version) for version in versions), f"{line}: {versions}"


def test_what_the_tests_add_changes_nothing_that_runs() -> None:
    assert not pins("run.lock").keys() & pins("dev.lock").keys()
