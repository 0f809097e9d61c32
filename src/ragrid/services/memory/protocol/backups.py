"""Copies of the whole store, made while it serves."""

from collections.abc import Callable
from typing import Protocol

import msgspec

#: Hears how many of how many steps are done, from any thread.
Note = Callable[[int, int], None]


class Backup(msgspec.Struct, frozen=True):
    """One copy: every change up to `seq` is in it. `kept` names those that there are now, newest first."""

    name: str
    size_bytes: int
    seq: int
    kept: tuple[str, ...]


class Backups(Protocol):
    """Backups hold all tenants and are for whoever runs the service: no caller is ever sent one."""

    def check_backup(self) -> None:
        """Raise NoBackupError, which says what to do instead, when this store makes none."""
        ...

    async def back_up(self, *, now_us: int, note: Note) -> Backup:
        """Make one, beside reads and writes; older ones go as the new one is there. To be called once at a time.

        Raises NoBackupError as above, StoreFullError when the disk has no room for it, and StoreBrokenError when the
        disk fails or the copy is not sound; nothing half is left then.
        """
        ...
