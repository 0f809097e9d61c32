"""Consul 1.8 or newer through the host's own agent: one Consul service per namespace, a TTL check per lease."""

import asyncio
import base64
import json
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ragrid.errors import ConflictError, LeaseLostError, MissingError, UnreachableError, UsageError
from ragrid.registry.codec import ForeignValues, check_instance, decode_instance, encode_instance
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
#: Consul's shortest time after which a critical service is taken out of the catalog altogether (it is not listed
#: from the moment it is critical): https://developer.hashicorp.com/consul/api-docs/agent/check
_FORGET_AFTER = "1m"
#: Consul keeps at most 512 characters in one value of a service's metadata.
_META_VALUE_SIZE = 500
_OK = 200
_NOT_FOUND = 404
_CONFLICT = 409


class ConsulRegistry:
    """The protocol over the HTTP API of one Consul agent, the one of this host: registrations belong to an agent.

    The ACL token in `address.token_file` is read once. The index is Consul's own, of the service `ragrid-<namespace>`.
    """

    def __init__(self, address: RegistryAddress, *, clock: Clock) -> None:
        self._namespace = check_name("registry namespace", address.namespace)
        self._service = f"ragrid-{self._namespace}"
        self._http = RegistryHttp(address, clock=clock, headers=_token_header(address))
        if len(self._http.endpoints.urls) != 1:
            raise UsageError(f"consul address: got {address.url!r}, wanted one URL, that of this host's own agent")
        self._foreign = ForeignValues()

    async def register(self, instance: Instance, *, ttl_s: float) -> Lease:
        """Make `instance` visible for `ttl_s` seconds and return the lease; registering it again replaces it."""
        check_instance(instance)
        lease = Lease(uuid.uuid4().hex, instance, ttl_s)
        params = {"replace-existing-checks": "true"}
        await self._put("/v1/agent/service/register", self._registration(lease), params)
        # A service that is registered again keeps its check's old state, also a critical one: pass the new check.
        _wanted(await self._http.call("PUT", f"/v1/agent/check/pass/service:{self._id(instance)}"), _OK)
        await self._settled(lease, is_listed=True)
        return lease

    async def renew(self, lease: Lease) -> None:
        """Extend the lease to its full time. Raises LeaseLostError when it has already ended."""
        if not await self._holds(lease):
            raise LeaseLostError(f"{self._id(lease.instance)}: lease {lease.lease_id} has ended; register again")
        answer = await self._http.call("PUT", f"/v1/agent/check/pass/service:{self._id(lease.instance)}")
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
        return self._snapshot(await self._query(0))

    async def watch(self, after: int) -> AsyncIterator[Snapshot]:
        """Yield the snapshot after each change later than `after`; at once when `after` is 0 or lies ahead."""
        known: tuple[Instance, ...] | None = None
        while True:
            snapshot = self._snapshot(await self._query(after))
            moved = snapshot.index != after and snapshot.instances != known
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
        if answer.status == _CONFLICT:
            raise ConflictError(f"{key}: revision is no longer {revision}; read it again")
        return Entry(key, value, int(_wanted(answer, _OK)["Results"][0]["KV"]["ModifyIndex"]))

    async def close(self) -> None:
        """Release connections; leases stay until they end."""
        await self._http.close()

    def _id(self, instance: Instance) -> str:
        """Return Consul's service id; `~` cannot be in our names, so no two instances share one."""
        return f"ragrid~{self._namespace}~{instance.service}~{instance.instance_id}"

    def _registration(self, lease: Lease) -> dict[str, Any]:
        instance = lease.instance
        return {
            "ID": self._id(instance),
            "Name": self._service,
            "Tags": [instance.service],
            "Address": instance.host,
            "Port": instance.port,
            "Meta": {
                "ragrid_service": instance.service,
                "ragrid_instance": instance.instance_id,
                "ragrid_lease": lease.lease_id,
                **_value_parts(encode_instance(instance)),
            },
            "Check": {
                "Name": "ragrid lease",
                "Notes": lease.lease_id,
                "TTL": f"{round(lease.ttl_s * 1000)}ms",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": _FORGET_AFTER,
            },
        }

    async def _put(self, path: str, body: Any, params: Mapping[str, str]) -> None:
        _wanted(await self._http.call("PUT", path, body=body, params=params), _OK)

    async def _holds(self, lease: Lease) -> bool:
        """Whether the agent still has this lease's check, and it has not run out."""
        wanted = f'ServiceID == "{self._id(lease.instance)}"'
        checks = _wanted(await self._http.call("GET", "/v1/agent/checks", params={"filter": wanted}), _OK)
        return any(one["Notes"] == lease.lease_id and one["Status"] == "passing" for one in checks.values())

    async def _query(self, index: int, *, only: str | None = None) -> Answer:
        """Ask for the live entries of our service; blocks for up to POLL_WAIT_S while the index is still `index`."""
        params = {"passing": "true", **({"filter": only} if only else {})}
        if index > 0:
            params |= {"index": str(index), "wait": f"{round(POLL_WAIT_S * 1000)}ms"}
        timeout_s = CALL_TIMEOUT_S + (POLL_WAIT_S * 17 / 16 if index > 0 else 0.0)
        answer = await self._http.call("GET", f"/v1/health/service/{self._service}", params=params, timeout_s=timeout_s)
        _wanted(answer, _OK)
        return answer

    async def _settled(self, lease: Lease, *, is_listed: bool) -> None:
        """Wait until the agent's change has reached the catalog, which is where everybody reads."""
        only = f'Service.Meta.ragrid_lease == "{lease.lease_id}"'
        index = 0
        try:
            async with asyncio.timeout(SETTLE_S):
                while bool((answer := await self._query(index, only=only)).body) != is_listed:
                    index = _index(answer)
        except TimeoutError as error:
            message = f"consul: the catalog did not take a change over within {SETTLE_S:g} s; is there a leader?"
            raise UnreachableError(message) from error

    def _snapshot(self, answer: Answer) -> Snapshot:
        found = (self._instance(one["Service"]) for one in answer.body)
        instances = sorted((one for one in found if one), key=lambda one: (one.service, one.instance_id))
        return Snapshot(_index(answer), tuple(instances))

    def _instance(self, service: dict[str, Any]) -> Instance | None:
        """Return the instance in one catalog entry; None, with one warning, when it is not ours."""
        meta = service.get("Meta") or {}
        try:
            name = check_name("service", meta.get("ragrid_service", ""))
            instance_id = check_name("instance id", meta.get("ragrid_instance", ""))
            return decode_instance(name, instance_id, _joined_value(meta))
        except (ValueError, UsageError) as error:
            self._foreign.report(str(service["ID"]), int(service["ModifyIndex"]), str(error))
            return None


def _value_parts(value: bytes) -> dict[str, str]:
    """Return `value` as metadata entries short enough for Consul."""
    text = json.dumps(json.loads(value), separators=(",", ":"))  # only ASCII comes out: sizes are then sizes in bytes
    parts = [text[start : start + _META_VALUE_SIZE] for start in range(0, len(text), _META_VALUE_SIZE)]
    return {f"ragrid_value_{number:02}": part for number, part in enumerate(parts)}


def _joined_value(meta: Mapping[str, str]) -> bytes:
    return "".join(meta[name] for name in sorted(meta) if name.startswith("ragrid_value_")).encode()


def _index(answer: Answer) -> int:
    """Return the answer's index, never less than 1: a blocking query with 0 would not block."""
    return max(1, int(answer.headers.get("X-Consul-Index", "1")))


def _wanted(answer: Answer, *statuses: int) -> Any:
    if answer.status not in statuses:
        message = f"consul: got status {answer.status}: {answer.text[:300].strip()}; wanted {statuses[0]}"
        raise UnreachableError(f"{message}; is the ACL token right?" if answer.status == 403 else message)
    return answer.body


def _token_header(address: RegistryAddress) -> dict[str, str]:
    if address.token_file is None:
        return {}
    try:
        return {"X-Consul-Token": address.token_file.read_text().strip()}
    except OSError as error:
        raise MissingError(f"{address.token_file}: {error.strerror}; wanted Consul's ACL token in it") from error
