"""A registry inside this process: the meaning of the protocol in its plainest form, for tests and simulations."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ragrid.errors import ConflictError, LeaseLostError, UnreachableError
from ragrid.registry.codec import check_instance
from ragrid.registry.names import check_key
from ragrid.registry.protocol import Entry, Instance, Lease, Snapshot
from ragrid.system.clock import Clock

#: How often a watch looks whether a lease has ended, seconds of real time (the clock may be a manual one).
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    ends_s: float


class MemoryRegistry:
    """Registrations and values in dictionaries; leases end by the injected clock's monotonic reading.

    `reachable` may be set to False: every call then raises UnreachableError, and leases go on ending.
    """

    def __init__(self, *, clock: Clock) -> None:
        self.reachable = True
        self._clock = clock
        self._index = 0
        self._held: dict[tuple[str, str], _Held] = {}
        self._entries: dict[str, Entry] = {}
        self._lease_ids = itertools.count(1)

    async def register(self, instance: Instance, *, ttl_s: float) -> Lease:
        """Make `instance` visible for `ttl_s` seconds and return the lease; registering it again replaces it."""
        self._turn()
        check_instance(instance)
        lease = Lease(str(next(self._lease_ids)), instance, ttl_s)
        self._held[(instance.service, instance.instance_id)] = _Held(lease, self._clock.monotonic_s() + ttl_s)
        self._index += 1
        return lease

    async def renew(self, lease: Lease) -> None:
        """Extend the lease to its full time. Raises LeaseLostError when it has already ended."""
        self._turn()
        name = (lease.instance.service, lease.instance.instance_id)
        held = self._held.get(name)
        if held is None or held.lease.lease_id != lease.lease_id:
            raise LeaseLostError(f"{name[0]}/{name[1]}: lease {lease.lease_id} has ended; register again")
        self._held[name] = _Held(held.lease, self._clock.monotonic_s() + held.lease.ttl_s)

    async def deregister(self, lease: Lease) -> None:
        """Take the instance out at once; a lease that has ended already is no error."""
        self._turn()
        name = (lease.instance.service, lease.instance.instance_id)
        held = self._held.get(name)
        if held is not None and held.lease.lease_id == lease.lease_id:
            del self._held[name]
            self._index += 1

    async def list(self) -> Snapshot:
        """Return every live instance, sorted by service and instance id."""
        self._turn()
        return Snapshot(self._index, tuple(self._held[name].lease.instance for name in sorted(self._held)))

    async def watch(self, after: int) -> AsyncIterator[Snapshot]:
        """Yield the snapshot after each change later than `after`; at once when `after` is 0 or lies ahead."""
        seen = after
        first = after == 0
        while True:
            snapshot = await self.list()
            if first or snapshot.index != seen:
                first = False
                seen = snapshot.index
                yield snapshot
            else:
                await asyncio.sleep(_LOOK_S)

    async def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None when there is none."""
        self._turn()
        return self._entries.get(check_key(key))

    async def compare_and_set(self, key: str, value: bytes, *, revision: int) -> Entry:
        """Write `value` if the revision is still `revision`. Raises ConflictError when somebody else wrote first."""
        self._turn()
        now = self._entries.get(check_key(key))
        if (now.revision if now else 0) != revision:
            message = f"{key}: revision is {now.revision if now else 0}, wanted {revision}; read it again"
            raise ConflictError(message)
        self._index += 1
        self._entries[key] = Entry(key, value, self._index)
        return self._entries[key]

    async def close(self) -> None:
        """Release nothing: there are no connections."""

    def lose_everything(self) -> None:
        """Forget all registrations and values, as a registry does whose disk was replaced; its index starts anew."""
        self._held.clear()
        self._entries.clear()
        self._index = 0

    def _turn(self) -> None:
        """End the leases whose time has come, whether or not we are reachable."""
        now_s = self._clock.monotonic_s()
        for name in [name for name, held in self._held.items() if held.ends_s <= now_s]:
            del self._held[name]
            self._index += 1
        if not self.reachable:
            raise UnreachableError("memory registry: told to be unreachable; set `reachable` again")
