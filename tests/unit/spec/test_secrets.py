"""Reading secrets: precise refusals, and never the secret in a message."""

from pathlib import Path

import pytest

from ragrid.errors import MissingError
from ragrid.spec.secrets import MAX_SECRET_BYTES, resolve_secret
from ragrid.spec.values import SecretReference


def reference(text: str) -> SecretReference:
    return SecretReference.parse(text)


def secret_file(folder: Path, content: bytes, *, mode: int = 0o600) -> SecretReference:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return SecretReference("file", str(path))


def test_a_variable_gives_its_value() -> None:
    assert resolve_secret(reference("env:KEY"), environment={"KEY": " hunter2\n"}) == "hunter2"


def test_this_process_has_the_environment_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGRID_TEST_KEY", "hunter2")
    assert resolve_secret(reference("env:RAGRID_TEST_KEY")) == "hunter2"


def test_a_file_gives_its_content(tmp_path: Path) -> None:
    assert resolve_secret(secret_file(tmp_path, b"hunter2\n")) == "hunter2"


def test_a_relative_file_lies_beside_the_grid(tmp_path: Path) -> None:
    secret_file(tmp_path, b"hunter2")
    assert resolve_secret(reference("file:key"), base=tmp_path) == "hunter2"


@pytest.mark.parametrize(
    ("value", "said"), [(None, "the variable is not set; run `export KEY=…`"), ("  ", "it is empty")]
)
def test_a_variable_without_a_secret_is_refused(value: str | None, said: str) -> None:
    with pytest.raises(MissingError, match=f"env:KEY: {said}"):
        resolve_secret(reference("env:KEY"), environment={} if value is None else {"KEY": value})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file or directory; write the secret there with mode 0600"):
        resolve_secret(SecretReference("file", str(tmp_path / "nothing")))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="not a file"):
        resolve_secret(SecretReference("file", str(tmp_path)))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(MissingError, match=f"others may use it .mode {mode:04o}.; run `chmod 0600") as caught:
        resolve_secret(secret_file(tmp_path, b"hunter2", mode=mode))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"hunter2\nhunter3", "several lines"),
        (b"hunter2\x00", "control characters"),
        (b"hunter2\xff", "not UTF-8"),
        (b"hunter2" * MAX_SECRET_BYTES, "is it the right file"),
    ],
)
def test_what_is_no_secret_is_refused_without_repeating_it(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(MissingError, match=said) as caught:
        resolve_secret(secret_file(tmp_path, content))
    assert "hunter" not in str(caught.value)
