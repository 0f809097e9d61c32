from pathlib import Path

import apsw
import pytest

from ragrid.errors import StateError
from ragrid.services.tokens import schema
from ragrid.services.tokens.sqlite_engine import FILE_NAME
from ragrid.services.tokens.store import AuditQuery, open_store
from support.token_desk import Desk


def test_only_the_owner_can_read_anything(desk: Desk) -> None:
    data = desk.folder / "data"
    assert data.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    assert FILE_NAME in files
    assert set(files.values()) == {0o600}


def test_modes_that_were_loosened_are_tightened(desk: Desk) -> None:
    data = desk.folder / "data"
    data.chmod(0o755)
    (data / FILE_NAME).chmod(0o644)
    desk.start()
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / FILE_NAME).stat().st_mode & 0o777 == 0o600


def _damaged(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "text":
        content = bytearray(b"this is no database, keep it\n" * 100)
    elif how == "header":
        content[0] ^= 0xFF
    elif how == "page":
        content[4096:8192] = b"\xa5" * 4096
    elif how == "truncated":
        del content[len(content) // 2 :]
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["text", "header", "page", "truncated"])
def test_a_damaged_file_is_refused_by_name_and_left_alone(desk: Desk, how: str) -> None:
    desk.stop()
    path = desk.folder / "data" / FILE_NAME
    _damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(StateError, match=FILE_NAME):
        open_store(path.parent)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("pragma", "said"), [("user_version", "format 99"), ("application_id", "another program")])
def test_a_file_of_somebody_else_is_refused(desk: Desk, pragma: str, said: str) -> None:
    desk.stop()
    path = desk.folder / "data" / FILE_NAME
    other = apsw.Connection(str(path))
    other.pragma(pragma, 99)
    other.close()
    with pytest.raises(StateError, match=said):
        open_store(path.parent)


def test_a_file_that_was_only_just_begun_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    store = open_store(tmp_path)
    assert store.clients() == []
    store.close()


def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    old = apsw.Connection(str(tmp_path / FILE_NAME))
    old.execute(schema._STEPS[0])
    old.pragma("application_id", schema.APPLICATION_ID)
    old.pragma("user_version", 1)
    old.execute("INSERT INTO audit (at_s, event, client_id, details) VALUES (1.0, 'client-created', 'ada', '{}')")
    old.close()
    for _ in range(2):
        store = open_store(tmp_path)
        assert [line.client_id for line in store.audit_lines(AuditQuery(), 10)] == ["ada"]
        assert store.watermarks("subject") == {}
        store.close()


def test_a_change_that_fails_leaves_nothing(desk: Desk) -> None:
    def change() -> None:
        with desk.store.change():
            desk.store.revoke("id", 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert desk.store.revocations() == {}
    with desk.store.change():
        desk.store.revoke("id", 1.0)
    assert desk.store.revocations() == {"id": 1.0}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file/data"):
        open_store(tmp_path / "file" / "data")
