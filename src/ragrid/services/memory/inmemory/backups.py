"""No backups, of dictionaries."""

from ragrid.services.memory.errors import NoBackupError
from ragrid.services.memory.protocol.backups import Backup, Note


class InMemoryBackups:
    """See protocol/backups.py."""

    def check_backup(self) -> None:
        """See Backups."""
        raise NoBackupError("this store is in memory and has no file; export what you want to keep")

    async def back_up(self, *, now_us: int, note: Note) -> Backup:  # noqa: ARG002 - the protocol's shape
        """See Backups."""
        self.check_backup()
        raise AssertionError
