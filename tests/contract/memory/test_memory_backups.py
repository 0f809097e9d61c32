"""A store makes a backup of itself, or says who does."""

import pytest

from ragrid.services.memory.errors import NoBackupError
from ragrid.services.memory.protocol.store import MemoryStore
from ragrid.services.memory.sqlite.store import SqliteStore

NOW = 1_800_000_000_000_000


async def test_a_store_makes_one_or_says_who_does(store: MemoryStore) -> None:
    if isinstance(store, SqliteStore):
        store.check_backup()
        made = await store.back_up(now_us=NOW, note=lambda _done, _total: None)
        assert (made.seq, made.kept) == (0, (made.name,))
        return
    with pytest.raises(NoBackupError, match=r"pg_dump -Fc|export") as told:
        store.check_backup()
    with pytest.raises(NoBackupError) as refused:
        await store.back_up(now_us=NOW, note=lambda _done, _total: None)
    assert str(refused.value) == str(told.value)
