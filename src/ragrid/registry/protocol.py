"""The registry as the rest of ragrid sees it, whichever product keeps it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service, as clients should reach it. `service` and `instance_id` together are its name."""

    service: str
    instance_id: str
    host: str
    port: int
    version: str = ""
    weight: int = 1
    draining: bool = False
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one registration to exist; it ends `ttl_s` after the last renewal.

    `ttl_s` is what the registry granted, which may be longer than what was asked for.
    """

    lease_id: str
    instance: Instance
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All instances at one moment; `index` grows with every change and can be handed to `watch` to resume."""

    index: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One value under a key; `revision` changes with every write (0 means the key does not exist)."""

    key: str
    value: bytes
    revision: int


class Registry(Protocol):
    """Registrations with leases, and a small key-value store with compare-and-set.

    Every method raises UnreachableError when the registry does not answer in time, or answers that it cannot or will
    not do it. Names (of services, instances, and each part of a key) are 1 to 128 letters, digits or `. _ : -`; others
    raise UsageError. Values under our prefix that are not ours are skipped with one warning. One object serves one
    event loop.
    """

    async def register(self, instance: Instance, *, ttl_s: float) -> Lease:
        """Make `instance` visible for `ttl_s` seconds and return the lease; registering it again replaces it."""
        ...

    async def renew(self, lease: Lease) -> None:
        """Extend the lease to its full time.

        Raises LeaseLostError when it has already ended, when the registration is gone for any other reason, and when
        another registration of the same instance has replaced it.
        """
        ...

    async def deregister(self, lease: Lease) -> None:
        """Take the instance out at once; a lease that has ended already is no error."""
        ...

    async def list(self) -> Snapshot:
        """Return every live instance, sorted by service and instance id."""
        ...

    def watch(self, after: int) -> AsyncIterator[Snapshot]:
        """Yield the full snapshot after each change later than index `after`; never ends by itself.

        `after` 0 yields the current snapshot at once. Changes may be merged. When the registry lost its history or its
        index went backwards, the current snapshot is yielded. Raises UnreachableError when the registry goes away:
        call again with the last index seen.
        """
        ...

    async def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None when there is none."""
        ...

    async def compare_and_set(self, key: str, value: bytes, *, revision: int) -> Entry:
        """Write `value` if the key's revision is still `revision` (0: it must not exist).

        Raises ConflictError when somebody else wrote first. After UnreachableError the write may or may not have
        happened: read the key before trying again.
        """
        ...

    async def close(self) -> None:
        """Release connections; leases stay until they end."""
        ...
