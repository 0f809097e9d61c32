"""What both clients need before and around a request: address, certificates, timeouts, errors in our words."""

import contextlib
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import httpx

from ragrid.client.calls import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from ragrid.client.refusals import NoAnswerError, redirected
from ragrid.client.renewal import Renewable
from ragrid.errors import AuthError, MissingError, RagridError, UnreachableError, UsageError


def checked_address(address: str) -> str:
    """Return the grid's address without a trailing slash.

    Raises UsageError when it is no http(s) URL, or plain http to another machine: everybody between could read the
    token.
    """
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise UsageError(f"address {address!r}: {error}; wanted https://HOST:PORT") from error
    if url.scheme not in ("http", "https") or not url.host or url.path not in ("", "/") or url.userinfo:
        raise UsageError(f"address {address!r}: wanted https://HOST:PORT and nothing more")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise UsageError(f"address {address!r}: a token never leaves this machine unencrypted; use https")
    return str(url).rstrip("/")


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that believes the grid's own authority alone, or the system's when `ca_file` is None.

    Raises MissingError or RagridError, naming the file, when it cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except FileNotFoundError as error:
        raise MissingError(f"{ca_file}: no such file; the grid's authority is written by `ragrid up`") from error
    except (OSError, ssl.SSLError) as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise RagridError(f"{ca_file}: cannot be used as certificate authority: {reason}") from error


def timeouts(read_timeout_s: float = READ_TIMEOUT_S) -> httpx.Timeout:
    """Return the time limits of one call, in seconds."""
    return httpx.Timeout(read_timeout_s, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)


@contextlib.contextmanager
def translated(address: str, name: str) -> Iterator[None]:
    """Raise NoAnswerError, in words that help, for whatever goes wrong between here and the grid."""
    try:
        yield
    except httpx.TimeoutException as error:
        was_sent = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
        kind = "answer" if was_sent else "connection"
        message = f"{address}: {name}: no {kind} in time; see `ragrid status`"
        raise NoAnswerError(message, was_sent=was_sent) from error
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = "give the grid's own authority as ca_file, and a name that its certificate holds"
            raise UnreachableError(f"{address}: its certificate is not trusted: {error}; {hint}") from error
        message = f"{address}: cannot connect: {error}; is the grid up? see `ragrid status`"
        raise NoAnswerError(message, was_sent=False) from error
    except httpx.HTTPError as error:
        message = f"{address}: {name}: the connection broke: {error}; see `ragrid status`"
        raise NoAnswerError(message, was_sent=True) from error


def refuse_redirect(name: str, response: httpx.Response) -> None:
    """Raise RefusedError for a redirect: a token is never carried on to another address."""
    if response.is_redirect and response.status_code != httpx.codes.NOT_MODIFIED:
        raise redirected(name, response.status_code, response.headers.get("location", ""))


def content_type(response: httpx.Response) -> str:
    """Return what the answer says that it is."""
    return str(response.headers.get("content-type", ""))


def is_worth_another_token(source: object, response: httpx.Response) -> bool:
    """Return whether a request that got 401 should be sent again: its source of tokens has another one for it."""
    if response.status_code != httpx.codes.UNAUTHORIZED or not isinstance(source, Renewable):
        return False
    scheme, _, access_token = response.request.headers.get("authorization", "").partition(" ")
    return scheme == "Bearer" and source.forget(access_token)


@runtime_checkable
class ClosableTokens(Protocol):
    """Gives tokens over connections of its own."""

    def close(self) -> None:
        """Close them."""
        ...


def close_tokens(source: object) -> None:
    """Close the connections of whatever gives a client its tokens, if it has any."""
    if isinstance(source, ClosableTokens):
        source.close()


def no_token(name: str) -> AuthError:
    """Return the error for a call that needs a token when none was given."""
    return AuthError(f"{name}: it needs a token; give `token=`, or get one: `ragrid token issue`")


def _is_loopback(host: str) -> bool:
    """Return whether `host` can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
