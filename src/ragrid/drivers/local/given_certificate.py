"""The gateway's certificate when it is the user's own: checked, and copied only when it is good."""

import ssl
from pathlib import Path

from ragrid.drivers.local.site import Site
from ragrid.errors import StateError
from ragrid.system.certificates import KeyPair, check_pair
from ragrid.system.files import PLAIN, PRIVATE, write_if_changed

_ADVICE = "the gateway keeps the one it has; put a good one there and run `ragrid up` again"


def take_certificate(site: Site, *, now_s: float) -> None:
    """Copy the certificate that the grid names into the secret store, where nginx reads it.

    Raises StateError, and leaves the last good copy as it is, when a file cannot be read or the pair cannot be used.
    """
    tls = site.grid.gateway.tls
    if tls.certificate is None or tls.key is None:  # rules.certificate_has_its_files has refused it
        raise StateError("gateway.tls: got no certificate or key, wanted both; add them")
    pair = KeyPair(_read("certificate", tls.certificate), _read("key", tls.key))
    try:
        check_pair(pair, name=site.grid.gateway.name, now_s=now_s)
    except ValueError as error:
        raise StateError(f"gateway.tls.{error}; {_ADVICE}") from error
    paths = ssl.get_default_verify_paths()
    authority = _read("authority", tls.authority or Path(paths.cafile or paths.openssl_cafile))
    store, name = site.secrets, site.gateway_certificate
    write_if_changed(store.key(name), pair.key, mode=PRIVATE)
    write_if_changed(store.certificate(name), pair.certificate, mode=PLAIN)
    write_if_changed(site.gateway_authority, authority, mode=PLAIN)


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"gateway.tls.{key}: {path}: {error.strerror}; {_ADVICE}") from error
