"""scripts/make-venv makes an environment once, and mends what is no longer what the locks say."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
#: A package of one file, as small as pip takes: the tests reach no index.
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path, name: str) -> str:
    """Write a wheel to `folder` and return its line for a lock."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for path, text in (
            (f"{name}.py", "here = True\n"),
            (f"{name}-1.0.dist-info/METADATA", METADATA.format(name=name)),
            (f"{name}-1.0.dist-info/WHEEL", WHEEL),
            (f"{name}-1.0.dist-info/RECORD", ""),
        ):
            wheel.writestr(path, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


class Checkout:
    """A clone with a lock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(REPOSITORY / "scripts/make-venv", folder / "scripts")
        (folder / "wheels").mkdir()
        self.lock(write_wheel(folder / "wheels", "first"))

    def lock(self, text: str) -> None:
        (self.folder / "own.lock").write_text(text)

    def make(self) -> str:
        """Run the script, and return what it said."""
        done = subprocess.run(
            ("scripts/make-venv", ".venv", "own.lock"),
            cwd=self.folder,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHON": sys.executable,
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.folder / "wheels"),
            },
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def imports(self, module: str) -> bool:
        python = self.folder / ".venv/bin/python"
        return subprocess.run((python, "-c", f"import {module}"), capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One for all, since making one takes seconds; each test leaves it sound."""
    made = Checkout(tmp_path_factory.mktemp("venv") / "clone")
    assert ".venv: installing own.lock" in made.make()
    return made


def test_it_is_made_once_and_follows_its_lock(checkout: Checkout) -> None:
    assert checkout.imports("first")
    assert checkout.make() == ""
    checkout.lock((checkout.folder / "own.lock").read_text() + write_wheel(checkout.folder / "wheels", "second"))
    assert ".venv: installing own.lock" in checkout.make()
    assert checkout.imports("first")
    assert checkout.imports("second")


@pytest.mark.parametrize("harm", ["interrupted by a wrong hash", "no python", "moved"])
def test_one_that_cannot_be_trusted_is_made_again(checkout: Checkout, harm: str) -> None:
    if harm == "no python":
        (checkout.folder / ".venv/bin/python").unlink()
    elif harm == "moved":
        checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    else:
        lock = (checkout.folder / "own.lock").read_text()
        wrong = re.sub(r"[0-9a-f]{64}", "0" * 64, write_wheel(checkout.folder / "wheels", "third"))
        checkout.lock(lock + wrong)
        with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
            checkout.make()
        checkout.lock(lock)
    stale = next((checkout.folder / ".venv/lib").glob("python3*/site-packages")) / "stale.py"
    stale.touch()
    assert ".venv: installing own.lock" in checkout.make()
    assert checkout.imports("first")
    assert not stale.exists()
    assert checkout.make() == ""
