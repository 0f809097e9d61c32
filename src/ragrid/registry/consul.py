"""Consul 1.8 or newer through the host's own agent: a Consul service per instance, a TTL check per lease."""

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

from ragrid.errors import ConflictError, LeaseLostError, MissingError, UnreachableError, UsageError
from ragrid.registry import consul_entry as entry
from ragrid.registry.codec import ForeignValues, check_instance
from ragrid.registry.http import CALL_TIMEOUT_S, Answer, RegistryHttp
from ragrid.registry.names import check_name, value_key
from ragrid.registry.protocol import Entry, Instance, Lease, Snapshot
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: Longest wait of one blocking query, seconds. Short, so that a hung agent is noticed; Consul adds up to a sixteenth:
#: https://developer.hashicorp.com/consul/api-docs/features/blocking
POLL_WAIT_S = 5.0
#: How long a change may take from the agent to the catalog, seconds; measured: milliseconds, more under load.
SETTLE_S = 10.0
_OK = 200
_NOT_FOUND = 404
_CONFLICT = 409
#: Says of a refused transaction that its index was too old; one that the ACLs forbid has the same status.
_STALE = "index is stale"
_FORBIDDEN = "Permission denied"


class ConsulRegistry:
    """The protocol over the HTTP API of one Consul agent, the one of this host: registrations belong to an agent.

    The ACL token in `address.token_file` is read once. The index is Consul's own, of all health checks. One query for
    the checks of a grid answers everything, so that a snapshot is of one moment although it spans services.
    """

    def __init__(self, address: RegistryAddress, *, clock: Clock) -> None:
        self._namespace = check_name("registry namespace", address.namespace)
        self._http = RegistryHttp(address, clock=clock, headers=_token_header(address))
        if len(self._http.endpoints.urls) != 1:
            raise UsageError(f"consul address: got {address.url!r}, wanted one URL, that of this host's own agent")
        self._foreign = ForeignValues()

    async def register(self, instance: Instance, *, ttl_s: float) -> Lease:
        """Make `instance` visible for `ttl_s` seconds and return the lease; registering it again replaces it."""
        check_instance(instance)
        lease = Lease(uuid.uuid4().hex, instance, ttl_s)
        params = {"replace-existing-checks": "true"}
        body = entry.registration(self._namespace, lease)
        _wanted(await self._http.call("PUT", "/v1/agent/service/register", body=body, params=params), _OK)
        # A service that is registered again keeps its check's old state, also a critical one: pass the new check.
        _wanted(await self._pass(lease), _OK)
        await self._settled(lease, is_listed=True)
        return lease

    async def renew(self, lease: Lease) -> None:
        """Extend the lease to its full time. Raises LeaseLostError when it has already ended."""
        if not await self._holds(lease):
            raise LeaseLostError(f"{self._id(lease.instance)}: lease {lease.lease_id} has ended; register again")
        answer = await self._pass(lease)
        if answer.status != _OK and not await self._holds(lease):
            raise LeaseLostError(f"{self._id(lease.instance)}: lease {lease.lease_id} has ended; register again")
        _wanted(answer, _OK)

    async def deregister(self, lease: Lease) -> None:
        """Take the instance out at once; a lease that has ended already is no error."""
        if not await self._holds(lease):
            return
        answer = await self._http.call("PUT", f"/v1/agent/service/deregister/{self._id(lease.instance)}")
        _wanted(answer, _OK, _NOT_FOUND)
        await self._settled(lease, is_listed=False)

    async def list(self) -> Snapshot:
        """Return every live instance, sorted by service and instance id."""
        return await self._look(0)

    async def watch(self, after: int) -> AsyncIterator[Snapshot]:
        """Yield the snapshot after each change later than `after`; at once when `after` is 0 or lies ahead."""
        known: tuple[Instance, ...] | None = None
        while True:
            snapshot = await self._look(after)
            moved = snapshot.index != after if known is None else snapshot.instances != known
            if moved or snapshot.index < after:
                yield snapshot
            after, known = snapshot.index, snapshot.instances

    async def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None when there is none."""
        answer = await self._http.call("GET", f"/v1/kv{value_key(self._namespace, key)}")
        if answer.status == _NOT_FOUND:
            return None
        found = _wanted(answer, _OK)[0]
        return Entry(key, base64.b64decode(found["Value"] or ""), int(found["ModifyIndex"]))

    async def compare_and_set(self, key: str, value: bytes, *, revision: int) -> Entry:
        """Write `value` if the revision is still `revision`. Raises ConflictError when somebody else wrote first.

        After UnreachableError the write may or may not have happened: read the key before trying again.
        """
        full = value_key(self._namespace, key).removeprefix("/")
        change = {"Verb": "cas", "Key": full, "Value": base64.b64encode(value).decode(), "Index": revision}
        answer = await self._http.call("PUT", "/v1/txn", body=[{"KV": change}], repeatable=False)
        if answer.status == _CONFLICT and _STALE in answer.text:
            raise ConflictError(f"{key}: revision is no longer {revision}; read it again")
        return Entry(key, value, int(_wanted(answer, _OK)["Results"][0]["KV"]["ModifyIndex"]))

    async def close(self) -> None:
        """Release connections; leases stay until they end."""
        await self._http.close()

    def _id(self, instance: Instance) -> str:
        return entry.service_id(self._namespace, instance)

    async def _pass(self, lease: Lease) -> Answer:
        return await self._http.call("PUT", f"/v1/agent/check/pass/{entry.check_id(self._namespace, lease.instance)}")

    async def _holds(self, lease: Lease) -> bool:
        """Whether the agent still has this lease's check, and it has not run out."""
        wanted = f'ServiceID == "{self._id(lease.instance)}"'
        answer = await self._http.call("GET", "/v1/agent/checks", params={"filter": wanted})
        return entry.holds(_wanted(answer, _OK).values(), lease)

    async def _look(self, index: int) -> Snapshot:
        """Return what is there; blocks for up to POLL_WAIT_S while the index is still `index`."""
        answer = await self._query("/v1/health/state/any", index, only=entry.grid_filter(self._namespace))
        return Snapshot(_index(answer), entry.live_instances(answer.body, self._namespace, self._foreign))

    async def _query(self, path: str, index: int, *, only: str) -> Answer:
        """Ask for the checks that the filter `only` lets through; blocks as `_look` does."""
        params = {"filter": only}
        if index > 0:
            params |= {"index": str(index), "wait": f"{round(POLL_WAIT_S * 1000)}ms"}
        timeout_s = CALL_TIMEOUT_S + (POLL_WAIT_S * 17 / 16 if index > 0 else 0.0)
        answer = await self._http.call("GET", path, params=params, timeout_s=timeout_s)
        _wanted(answer, _OK)
        return answer

    async def _settled(self, lease: Lease, *, is_listed: bool) -> None:
        """Wait until the agent's change has reached the catalog, which is where everybody reads."""
        path, index = f"/v1/health/checks/{lease.instance.service}", 0
        only = f'CheckID == "{entry.check_id(self._namespace, lease.instance)}"'
        try:
            async with asyncio.timeout(SETTLE_S):
                while entry.holds((answer := await self._query(path, index, only=only)).body, lease) != is_listed:
                    index = _index(answer)
        except TimeoutError as error:
            message = f"consul: the catalog did not take a change over within {SETTLE_S:g} s; is there a leader?"
            raise UnreachableError(message) from error


def _index(answer: Answer) -> int:
    """Return the answer's index, never less than 1: a blocking query with 0 would not block."""
    return max(1, int(answer.headers.get("X-Consul-Index", "1")))


def _wanted(answer: Answer, *statuses: int) -> Any:
    if answer.status not in statuses:
        message = f"consul: got status {answer.status}: {answer.text[:300].strip()}; wanted {statuses[0]}"
        raise UnreachableError(f"{message}; is the ACL token right?" if _FORBIDDEN in answer.text else message)
    return answer.body


def _token_header(address: RegistryAddress) -> dict[str, str]:
    if address.token_file is None:
        return {}
    try:
        return {"X-Consul-Token": address.token_file.read_text().strip()}
    except OSError as error:
        raise MissingError(f"{address.token_file}: {error.strerror}; wanted Consul's ACL token in it") from error
