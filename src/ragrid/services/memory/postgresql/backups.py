"""PostgreSQL makes its own backups, of one moment and beside the writes: we only say how."""

from ragrid.services.memory.errors import NoBackupError
from ragrid.services.memory.protocol.backups import Backup, Note

COMMAND = "pg_dump -Fc -h STATE/run/postgresql -U postgres ragrid_memory > memory.dump"


class PostgresBackups:
    """See protocol/backups.py."""

    def check_backup(self) -> None:
        """See Backups."""
        detail = "memories are in PostgreSQL, which makes its own backups while it serves"
        raise NoBackupError(f"{detail}: `{COMMAND}` as its superuser; restore with pg_restore")

    async def back_up(self, *, now_us: int, note: Note) -> Backup:  # noqa: ARG002 - the protocol's shape
        """See Backups."""
        self.check_backup()
        raise AssertionError
