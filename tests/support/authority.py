"""An authority of certificates for tests, and what servers show by it."""

import ssl
import time
from pathlib import Path

from ragrid.system.certificates import KeyPair, make_authority, make_leaf

SERVICE_NAME = "service.test"


class Authority:
    """Makes certificates below a folder."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._pair = make_authority(name, now_s=time.time())
        self.file = self._write(name, self._pair)[0]

    def _write(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        files = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        for file, content in zip(files, (pair.certificate, pair.key), strict=True):
            file.write_bytes(content)
        return files

    def leaf(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        return self._write(f"{self._name}-{name}", make_leaf(self._pair, name, [name], now_s=time.time()))

    def server(self, name: str = SERVICE_NAME) -> ssl.SSLContext:
        """What a service of that name shows, and asks its callers for."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.file))
        context.load_cert_chain(*self.leaf(name))
        context.verify_mode = ssl.CERT_REQUIRED
        return context
