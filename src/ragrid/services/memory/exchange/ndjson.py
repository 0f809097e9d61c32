"""A stream of bytes as lines, each bounded, whatever the sizes in which the bytes arrive. Pure."""

from collections.abc import Iterator

#: Largest line. One memory, fully escaped, has at most the size of a request's body; the rest is what goes around it.
LINE_BYTES = 640 * 1024


class LineSplitter:
    """Cuts what it is fed into lines; a line that is too long is None, and only its beginning was ever held."""

    def __init__(self, limit_bytes: int = LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """Yield each line that ends in `chunk`, without its end."""
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        for part in rest:
            yield self._line()
            self._keep(part)

    def end(self) -> Iterator[bytes | None]:
        """Yield the last line when it had no end."""
        if self._size_bytes:
            yield self._line()

    def _keep(self, part: bytes) -> None:
        self._size_bytes += len(part)
        if self._size_bytes <= self._limit_bytes:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _line(self) -> bytes | None:
        line = b"".join(self._parts).removesuffix(b"\r") if self._size_bytes <= self._limit_bytes else None
        self._parts.clear()
        self._size_bytes = 0
        return line
