"""What a folder gives to ingest, under which names, and why the rest is left out."""

import os
from pathlib import Path

import pytest

from ragrid.client import walk as module
from ragrid.client.walk import Found, Skipped, walk


def fill(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names(*roots: Path) -> list[str]:
    return [one.name for one in walk(roots) if isinstance(one, Found)]


def reasons(*roots: Path) -> dict[str, str]:
    return {one.path.name: one.reason for one in walk(roots) if isinstance(one, Skipped)}


def test_names_are_relative_sorted_and_typed(tmp_path: Path) -> None:
    fill(tmp_path, {"b/two.HTML": b"<p>2", "a.md": b"# 1", "b/c/three.rst": b"3", "z.txt": b"4"})
    found = [one for one in walk([tmp_path]) if isinstance(one, Found)]
    assert [(one.name, one.media_type, one.size_bytes) for one in found] == [
        ("a.md", "text/markdown", 3),
        ("b/c/three.rst", "text/plain", 1),
        ("b/two.HTML", "text/html", 4),
        ("z.txt", "text/plain", 1),
    ]


def test_the_same_folder_gives_the_same_names_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"docs/a/b.md": b"x"})
    monkeypatch.chdir(tmp_path / "docs")
    assert names(Path()) == names(tmp_path / "docs") == names(tmp_path / "docs" / "a" / "..") == ["a/b.md"]


def test_hidden_and_version_control_are_passed_over_without_a_word(tmp_path: Path) -> None:
    fill(tmp_path, {".git/config.txt": b"x", ".hidden.md": b"x", "CVS/Root.txt": b"x", "seen.md": b"x"})
    assert [type(one) for one in walk([tmp_path])] == [Found]
    assert names(tmp_path / ".hidden.md") == [".hidden.md"]  # asked for by name


def test_each_skipped_file_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 100)
    fill(
        tmp_path,
        {
            "empty.md": b"",
            "binary.txt": b"text\0more",
            "large.md": b"x" * 101,
            "picture.png": b"\x89PNG",
            "limit.md": b"x" * 100,
            "wide.txt": "für".encode("utf-16"),
            "latin.txt": "für".encode("latin-1"),
        },
    )
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "broken.md").symlink_to(tmp_path / "absent")
    assert reasons(tmp_path) == {
        "binary.txt": "binary",
        "broken.md": "unreadable: No such file or directory",
        "empty.md": "empty",
        "large.md": "too large: 101 bytes; the limit is 100",
        "picture.png": "unsupported type '.png'; wanted one of .htm .html .markdown .md .rst .txt",
        "pipe.md": "not a regular file",
    }
    assert names(tmp_path) == ["latin.txt", "limit.md", "wide.txt"]


def test_a_root_that_is_absent_is_named(tmp_path: Path) -> None:
    assert reasons(tmp_path / "absent") == {"absent": "unreadable: No such file or directory"}


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"secret.md": b"x", "ok.md": b"x"})
    (tmp_path / "secret.md").chmod(0)
    if os.geteuid() == 0:  # root reads everything: a directory in a file's place is as unreadable
        (tmp_path / "secret.md").unlink()
        (tmp_path / "secret.md").symlink_to("/proc/self/mem")
    assert "ok.md" in names(tmp_path)
    assert "secret.md" in reasons(tmp_path)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    fill(tmp_path, {"a/b/one.md": b"x"})
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    assert names(tmp_path) == ["a/b/one.md"]
    assert "visited already" in reasons(tmp_path)["up"]
    assert "unreadable" in reasons(tmp_path)["self"]


def test_a_second_file_of_the_same_name_does_not_replace_the_first(tmp_path: Path) -> None:
    fill(tmp_path, {"one/readme.md": b"1", "two/readme.md": b"2"})
    seen = list(walk([tmp_path / "one", tmp_path / "two"]))
    assert isinstance(seen[0], Found)
    assert isinstance(seen[1], Skipped)
    assert "same name as" in seen[1].reason


def test_a_file_name_that_is_no_text_does_not_end_the_walk(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_bytes(b"x")
    assert names(tmp_path) == ["caf\ufffd.md"]
