"""TCP ports: who listens where, and what to say to a person whose port is taken."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from ragrid.errors import RagridError

#: Ports below this one need root or CAP_NET_BIND_SERVICE, unless net.ipv4.ip_unprivileged_port_start says otherwise.
PRIVILEGED_BELOW = 1024


@dataclass(frozen=True, slots=True, order=True)
class ListeningSocket:
    """One listening TCP socket.

    `pid` and `program` are None when the kernel does not show them to us: another user's process, and we are not root.
    """

    host: str
    port: int
    pid: int | None = None
    program: str | None = None

    @property
    def owner(self) -> str:
        """Return the process as a person would name it."""
        if self.pid is None:
            return "a process of another user"
        return f"{self.program or 'a process'} (pid {self.pid})"


def listening_sockets() -> tuple[ListeningSocket, ...]:
    """Return every listening TCP socket of this network namespace, IPv4 and IPv6, sorted by host and port.

    A socket that several processes share (nginx workers) is listed once, with the lowest pid.
    """
    seen: dict[tuple[str, int], int | None] = {}
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        key = (connection.laddr.ip, connection.laddr.port)
        pids = [pid for pid in (seen.get(key), connection.pid) if pid is not None]
        seen[key] = min(pids, default=None)
    return tuple(
        ListeningSocket(host, port, pid, _program_of(pid))
        for (host, port), pid in sorted(seen.items(), key=lambda item: item[0])
    )


def holder_of(port: int, host: str = "127.0.0.1") -> ListeningSocket | None:
    """Return the socket that keeps `host`:`port` from being listened on, or None; a wildcard address holds all."""
    return next((one for one in listening_sockets() if one.port == port and overlaps(one.host, host)), None)


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen on `host`:`port` now; connections in TIME_WAIT do not count.

    Raises RagridError when the answer does not depend on who else listens: the address is not of this machine, or
    the port is privileged and we are not.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise RagridError(
            f"{host!r}: not an address: {error.strerror}; name one of this machine's addresses"
        ) from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise RagridError(_cannot_listen(host, port, error)) from error
    return True


def taken_text(key: str, host: str, port: int, holder: ListeningSocket | None) -> str:
    """Return the one line for a taken port; `key` is the path in grid.yaml that sets it."""
    owner = holder.owner if holder else "a process that is not visible from here"
    return f"port {port} on {host} is taken by {owner}; set {key} in grid.yaml to another, or stop that process"


def with_descendants(pids: Iterable[int]) -> frozenset[int]:
    """Return `pids` and every process below them; those that have ended meanwhile are left out."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            found |= {pid, *(child.pid for child in process.children(recursive=True))}
    return frozenset(found)


def overlaps(one: str, other: str) -> bool:
    """Return whether two sockets on these addresses and the same port would clash; a wildcard clashes with all."""
    try:
        first, second = _address(one), _address(other)
    except ValueError:
        return one == other
    if first == second:
        return True
    if first.is_unspecified or second.is_unspecified:
        wildcard = first if first.is_unspecified else second
        return wildcard.version == 6 or first.version == second.version
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address of `host`; an IPv4 address mapped into IPv6 is the IPv4 one."""
    address = ipaddress.ip_address({"localhost": "127.0.0.1", "": "0.0.0.0"}.get(host, host))  # noqa: S104 - compared only
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    """Say why nobody, whoever else listens, could get this socket from here."""
    if error.errno == errno.EACCES:
        return f"port {port} on {host}: ports below {PRIVILEGED_BELOW} need root; choose a higher one, or run with sudo"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host}: not an address of this machine; `ip -brief address` lists them"
    return f"port {port} on {host}: {error.strerror}; choose another address"


def _program_of(pid: int | None) -> str | None:
    """Return the name of a process, or None when it is gone or hidden."""
    if pid is None:
        return None
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None
