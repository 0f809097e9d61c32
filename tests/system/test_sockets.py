"""Nobody reaches a part except through the gateway: every listening socket of the grid is known and private."""

import ipaddress
from typing import Any

from ragrid.system import owned
from ragrid.system.ports import listening_sockets
from support.running_grid import RunningGrid


def numbers(section: Any, key: str = "") -> dict[int, str]:
    """Return every port that the grid file names, with its key."""
    if isinstance(section, dict):
        return {port: name for k, v in section.items() for port, name in numbers(v, f"{key}.{k}".strip(".")).items()}
    is_port = isinstance(section, int) and key.rpartition(".")[2] in PORT_KEYS
    return {section: key} if is_port else {}


PORT_KEYS = {"port", "peer_port", "metrics_port", "controller_port", "node_exporter_port", "http", "https"}


def test_every_listening_socket_is_known_and_private(grid: RunningGrid) -> None:
    ours = owned.parts_running(grid.state)
    sockets = [one for one in listening_sockets() if one.pid in ours]
    known = numbers(grid.document)
    assert {one.port for one in sockets} == set(known), (
        "a socket that the grid file does not name, or one that is missing"
    )
    assert all(ipaddress.ip_address(one.host).is_loopback for one in sockets)


def test_no_socket_is_shared_by_two_parts(grid: RunningGrid) -> None:
    ours = owned.parts_running(grid.state)
    sockets = [one for one in listening_sockets() if one.pid in ours]
    assert len({(one.host, one.port) for one in sockets}) == len(sockets) == len(numbers(grid.document))


def test_unix_sockets_can_be_entered_by_the_owner_alone(grid: RunningGrid) -> None:
    found = [path for path in grid.state.rglob("*") if path.is_socket()]
    assert found
    for path in found:
        assert grid.state.stat().st_mode & 0o077 == 0
        assert path.stat().st_mode & 0o077 == 0 or (grid.state / "run").stat().st_mode & 0o077 == 0


def test_no_secret_can_be_read_by_others(grid: RunningGrid) -> None:
    assert grid.state.stat().st_mode & 0o077 == 0
    secrets = [path for path in (grid.state / "secrets").rglob("*") if path.is_file() and path.suffix != ".crt"]
    assert secrets
    assert [path for path in secrets if path.stat().st_mode & 0o077] == []
    words = [path.read_bytes().strip() for path in (grid.state / "secrets" / "clients").iterdir()]
    rendered = [path for folder in ("etc", "log") for path in (grid.state / folder).rglob("*") if path.is_file()]
    assert [path for path in rendered if any(word in path.read_bytes() for word in words)] == []


def test_no_token_is_logged(grid: RunningGrid) -> None:
    token = grid.token("reader")
    with grid.client(token) as client:
        assert client.get("/memory/v1/memories").status_code == 200
    signature = token.rpartition(".")[2].encode()
    logs = [path for path in (grid.state / "log").iterdir() if path.is_file()]
    assert [path.name for path in logs if signature in path.read_bytes()] == []
