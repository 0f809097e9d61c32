"""The status file: what the agent knows, for a person to read when nothing else answers."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ragrid.agent.watcher import RegistryHealth, Watcher
from ragrid.system.files import write_atomic


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One instance; times are ISO 8601 in UTC, `last_check_s` is how long the last check took.

    `owner` is another agent that holds it in the registry.
    """

    service: str
    instance_id: str
    host: str
    port: int
    version: str
    health: str
    since: str
    registered: bool
    owner: str = ""
    last_checked: str | None
    last_check_s: float | None
    last_error: str


class RegistryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The registry as the agent met it last; `up` is None before the first call."""

    up: bool | None
    since: str
    last_error: str


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything; older than a few times `STATUS_EVERY_S`, it tells of an agent that is gone."""

    host_name: str
    pid: int
    written: str
    stopping: bool
    registry: RegistryStatus
    instances: tuple[InstanceStatus, ...]


def instance_status(watcher: Watcher) -> InstanceStatus:
    """Return where one instance stands; `last_error` stays after the instance recovered."""
    watched, state = watcher.watched, watcher.state
    return InstanceStatus(
        service=watched.service,
        instance_id=watched.instance_id,
        host=watched.host,
        port=watched.port,
        version=watched.version,
        health=state.health.value,
        since=iso_time(state.since_s),
        registered=state.lease is not None,
        owner=state.owner,
        last_checked=None if state.checked_s is None else iso_time(state.checked_s),
        last_check_s=None if state.last is None else round(state.last.took_s, 6),
        last_error=state.last_error,
    )


def registry_status(health: RegistryHealth) -> RegistryStatus:
    """Return how the registry stands."""
    return RegistryStatus(up=health.is_up, since=iso_time(health.since_s), last_error=health.last_error)


def save_status(path: Path, status: AgentStatus) -> None:
    """Replace the status file whole."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")


def iso_time(seconds: float) -> str:
    """Return a wall-clock time as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
