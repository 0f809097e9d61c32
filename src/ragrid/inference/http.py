"""The one place where inference adapters get their HTTP clients from: trust, key and time limits from settings."""

import ssl
from pathlib import Path

import httpx

from ragrid.errors import MissingError


def open_client(*, ca_file: Path | None, api_key_file: Path | None, timeout_s: float) -> httpx.AsyncClient:
    """Return a client that trusts `ca_file` (the system's list without it) and sends the key from `api_key_file`.

    Never goes through a proxy from the environment. Raises MissingError naming a file that cannot be read.
    """
    headers = {"Authorization": f"Bearer {_read_secret(api_key_file)}"} if api_key_file else {}
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=16)
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0))
    return httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, verify=trust(ca_file), trust_env=False)


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts exactly `ca_file`, or the system's list. Raises MissingError without the file."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise MissingError(f"{ca_file}: {error}; wanted a PEM certificate; run `ragrid up`") from error


def _read_secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}; wanted a file with the API key alone") from error
