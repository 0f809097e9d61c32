"""What a part shows to another one in mutual TLS: a certificate that may be renewed while the part runs."""

import ssl
from pathlib import Path
from typing import Any


class RenewingContext(ssl.SSLContext):
    """A client's context; a certificate that was renewed on disk is shown from the next connection on.

    One that cannot be read, because it is being written, leaves the one in hand. Make it with `client_context`.
    Before `hold`, none is shown.
    """

    _files: tuple[Path, Path] | None = None
    _seen: int = 0

    def hold(self, certificate_file: Path, key_file: Path) -> None:
        """Show this certificate. Raises OSError (ssl.SSLError is one) when it cannot be read."""
        self._files = (certificate_file, key_file)
        self._take_up()

    def _take_up(self) -> None:
        if self._files is None:
            return
        changed_ns = self._files[0].stat().st_mtime_ns
        if changed_ns != self._seen:
            self.load_cert_chain(*self._files)
            self._seen = changed_ns

    def _look_again(self) -> None:
        try:
            self._take_up()
        except OSError:
            return  # the next connection looks again; certificates are renewed a month before their end

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap as its base class does."""
        self._look_again()
        return super().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Wrap as its base class does."""
        self._look_again()
        return super().wrap_bio(*arguments, **options)


def client_context(*, authority_file: Path, certificate_file: Path, key_file: Path) -> RenewingContext:
    """Return what a client shakes hands with: it believes `authority_file` alone (PEM), and shows the certificate.

    Raises OSError when a file cannot be read.
    """
    context = RenewingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority_file)
    context.hold(certificate_file, key_file)
    return context
