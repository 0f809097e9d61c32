"""`SqliteStore`: the store of one process, all facets over one file. Point reads run on the event loop, writes on a
thread of their own, lists and searches on a few more.
"""

import contextlib
from pathlib import Path

from ragrid.services.memory.sqlite.backups import FOLDER, KEPT, BackupFolder, SqliteBackups
from ragrid.services.memory.sqlite.batch import SqliteBatches
from ragrid.services.memory.sqlite.by_words import WordSearch
from ragrid.services.memory.sqlite.embeddings import SqliteEmbeddings
from ragrid.services.memory.sqlite.exchange import SqliteExchange
from ragrid.services.memory.sqlite.feed import SqliteFeed
from ragrid.services.memory.sqlite.files import FILE_NAME, open_mover, open_writer, prepare
from ragrid.services.memory.sqlite.forgetting import SqliteForgetting
from ragrid.services.memory.sqlite.jobs import SqliteJobs
from ragrid.services.memory.sqlite.log_keeper import LogKeeper
from ragrid.services.memory.sqlite.memories import SqliteMemories
from ragrid.services.memory.sqlite.namespaces import SqliteNamespaces
from ragrid.services.memory.sqlite.search import SqliteSearch
from ragrid.services.memory.sqlite.sessions import SqliteSessions
from ragrid.services.memory.sqlite.upkeep import SqliteUpkeep
from ragrid.services.memory.sqlite.vector_cache import VectorCache
from ragrid.services.memory.sqlite.writer import Writer
from ragrid.system.files import held_lock
from ragrid.web.progress import Progress

LOCK_NAME = "memory.lock"
#: Vectors of some 300,000 memories at 384 members each.
VECTOR_CACHE_BYTES = 512 * 1024 * 1024


def lock_directory(directory: Path) -> contextlib.ExitStack:
    """Return what holds the store in `directory`, which is made, for this process until it is closed.

    Raises ConflictError at once when another process has it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = contextlib.ExitStack()
    held.enter_context(held_lock(directory / LOCK_NAME, what=f"the memory store {directory / FILE_NAME}"))
    return held


class SqliteStore(
    SqliteMemories,
    SqliteForgetting,
    SqliteNamespaces,
    SqliteBackups,
    SqliteBatches,
    SqliteEmbeddings,
    SqliteExchange,
    SqliteFeed,
    SqliteJobs,
    SqliteSearch,
    SqliteSessions,
    SqliteUpkeep,
):
    """A MemoryStore in the file `memory.db` of a directory that one process owns.

    Make it with `open`; one event loop may use it.
    """

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int | None = None,
        vector_cache_bytes: int = VECTOR_CACHE_BYTES,
        backups_kept: int = KEPT,
        progress: Progress | None = None,
        lock: contextlib.ExitStack | None = None,
    ) -> "SqliteStore":
        """Lock, check, migrate and open the store in `directory`; `max_bytes` bounds the file, not its log.

        `vector_cache_bytes` bounds the vectors that are kept in memory for searches; `backups_kept` counts backups.
        `progress` hears how far checking and migrating are, and may end them. `lock` is what `lock_directory` returned
        to a caller who locked it before.

        Raises ConflictError when another process has it, StateError when the file is damaged or not ours.
        """
        path = directory / FILE_NAME
        with lock or lock_directory(directory) as resources:
            prepare(path, progress)
            writer = Writer(lambda: open_writer(path), LogKeeper(lambda: open_mover(path)), max_bytes=max_bytes)
            resources.callback(writer.close)
            store = cls(path, writer, resources.pop_all())
            store.vector_cache = VectorCache(vector_cache_bytes)
            store.word_search = WordSearch()
            store.backup_folder = BackupFolder(directory / FOLDER, backups_kept)
            return store
        raise AssertionError("an exit stack swallows nothing")
