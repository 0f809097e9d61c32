"""What every store does alike when it gives everything away: so many at once, and lines in chunks. Pure."""

from ragrid.services.memory.errors import StoreBusyError
from ragrid.services.memory.protocol.exchange import Exported

#: Exports at once, in each process: every one reads one moment for as long as its reader takes, and so keeps a store
#: from clearing away what was replaced since.
EXPORTS = 4
#: How much of an export is held at once, bytes; one line more may be.
CHUNK_BYTES = 256 * 1024


def check_room(under_way: int) -> None:
    """Raise StoreBusyError when there are as many exports as there may be."""
    if under_way >= EXPORTS:
        raise StoreBusyError(f"{EXPORTS} exports are under way, and no more are made at once; try again later")


class Chunk:
    """Lines that are waiting to be sent together."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size_bytes = 0

    def add(self, line: bytes) -> bool:
        """Take one line, and tell whether that is enough."""
        self._lines.append(line)
        self._size_bytes += len(line)
        return self._size_bytes >= CHUNK_BYTES

    def taken(self) -> Exported | None:
        """Return what waits and wait anew, None when nothing does."""
        lines, self._lines, self._size_bytes = self._lines, [], 0
        return Exported(len(lines), b"".join(lines)) if lines else None
