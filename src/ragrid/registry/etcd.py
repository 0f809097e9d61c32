"""etcd 3.4 or newer through its JSON gateway: a lease and a key per registration; a watch only wakes a read."""

import base64
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

from ragrid.errors import ConflictError, LeaseLostError, UnreachableError, UsageError
from ragrid.registry.codec import ForeignValues, check_instance, decode_instance, encode_instance
from ragrid.registry.etcd_watch import opened_wake
from ragrid.registry.http import Answer, RegistryHttp
from ragrid.registry.names import check_name, instance_key, services_prefix, value_key
from ragrid.registry.protocol import Entry, Instance, Lease, Snapshot
from ragrid.spec.settings import RegistryAddress
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: A watch reads the whole list at least this often, seconds: a hung server or a silently dead stream shows by then.
RESYNC_S = 5.0
#: gRPC's NOT_FOUND, as the gateway reports a lease that is gone.
_GRPC_NOT_FOUND = 5


class EtcdRegistry:
    """The protocol over `/v3` of any etcd server in `address.url` (several, separated by commas, for failover).

    etcd grants no lease under 2 seconds. The index is the store's revision, which also moves for foreign keys.
    """

    def __init__(self, address: RegistryAddress, *, clock: Clock) -> None:
        self._namespace = check_name("registry namespace", address.namespace)
        self._prefix = services_prefix(self._namespace)
        self._http = RegistryHttp(address, clock=clock)
        self._foreign = ForeignValues()

    async def register(self, instance: Instance, *, ttl_s: float) -> Lease:
        """Make `instance` visible for `ttl_s` seconds and return the lease; registering it again replaces it."""
        check_instance(instance)
        granted = await self._call("/v3/lease/grant", {"TTL": str(max(1, math.ceil(ttl_s)))})
        lease_id = str(granted["ID"])
        key = instance_key(self._namespace, instance.service, instance.instance_id)
        put = {"key": _b64(key), "value": _b64(encode_instance(instance)), "lease": lease_id, "prev_kv": True}
        try:
            done = await self._call("/v3/kv/put", put)
        except LeaseLostError as error:
            raise UnreachableError(
                f"etcd: {key}: the lease ended before the registration was written; again"
            ) from error
        await self._revoke_replaced(str(done.get("prev_kv", {}).get("lease", "0")), lease_id)
        return Lease(lease_id, instance, float(granted["TTL"]))

    async def renew(self, lease: Lease) -> None:
        """Extend the lease to its full time. Raises LeaseLostError when it ended or its key is no longer its own."""
        answer = await self._call("/v3/lease/keepalive", {"ID": lease.lease_id})
        result = answer.get("result", {})
        key = instance_key(self._namespace, lease.instance.service, lease.instance.instance_id)
        if int(result.get("TTL", 0)) <= 0 or not await self._holds(key, lease.lease_id):
            raise LeaseLostError(f"{key}: lease {lease.lease_id} has ended; register again")

    async def deregister(self, lease: Lease) -> None:
        """Take the instance out at once; a lease that has ended already is no error."""
        await self._revoke(lease.lease_id)

    async def list(self) -> Snapshot:
        """Return every live instance, sorted by service and instance id."""
        answer = await self._call("/v3/kv/range", {"key": _b64(self._prefix), "range_end": _b64(_after(self._prefix))})
        found = (self._instance(kv) for kv in answer.get("kvs", ()))
        instances = sorted((one for one in found if one), key=lambda one: (one.service, one.instance_id))
        return Snapshot(int(answer["header"]["revision"]), tuple(instances))

    async def watch(self, after: int) -> AsyncIterator[Snapshot]:
        """Yield the snapshot after each change later than `after`; at once when `after` is 0 or lies ahead.

        etcd's stream of events is used as a bell only. What is yielded was always read whole, so a compacted history,
        a lost event or a stream that died in silence costs a read, never a wrong answer.
        """
        snapshot = await self.list()
        known = snapshot.instances if snapshot.index == after else None
        if after == 0 or snapshot.index < after:
            yield snapshot
            after, known = snapshot.index, snapshot.instances
        while True:
            async with opened_wake(self._http, self._watch_request(after + 1)) as wake:
                while wake.is_open:
                    changed = await wake.wait(RESYNC_S)
                    snapshot = await self.list()
                    if snapshot.index < after or changed or (known is not None and snapshot.instances != known):
                        yield snapshot
                        after = snapshot.index
                    known = snapshot.instances

    async def get(self, key: str) -> Entry | None:
        """Return the entry of `key`, or None when there is none."""
        answer = await self._call("/v3/kv/range", {"key": _b64(value_key(self._namespace, key))})
        for kv in answer.get("kvs", ()):
            return Entry(key, _raw(kv.get("value", "")), int(kv["mod_revision"]))
        return None

    async def compare_and_set(self, key: str, value: bytes, *, revision: int) -> Entry:
        """Write `value` if the revision is still `revision`. Raises ConflictError when somebody else wrote first.

        After UnreachableError the write may or may not have happened: read the key before trying again.
        """
        full = _b64(value_key(self._namespace, key))
        compare = {"key": full, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        request = {"compare": [compare], "success": [{"request_put": {"key": full, "value": _b64(value)}}]}
        answer = await self._call("/v3/kv/txn", request, repeatable=False)
        if not answer.get("succeeded", False):
            raise ConflictError(f"{key}: revision is no longer {revision}; read it again")
        return Entry(key, value, int(answer["header"]["revision"]))

    async def close(self) -> None:
        """Release connections; leases stay until they end."""
        await self._http.close()

    async def _call(self, path: str, body: dict[str, Any], *, repeatable: bool = True) -> dict[str, Any]:
        answer = await self._http.call("POST", path, body=body, repeatable=repeatable)
        if answer.status == 200 and isinstance(answer.body, dict):
            return answer.body
        if _is_lease_not_found(answer):
            raise LeaseLostError(f"etcd: {path}: the lease has ended; register again")
        raise UnreachableError(f"etcd: {path}: got status {answer.status}: {answer.text[:300].strip()}; wanted 200")

    async def _revoke(self, lease_id: str) -> None:
        try:
            await self._call("/v3/lease/revoke", {"ID": lease_id})
        except LeaseLostError:
            logger.debug("lease had ended already", extra={"lease": lease_id})

    async def _revoke_replaced(self, old_id: str, lease_id: str) -> None:
        """End the lease of the registration that was just replaced, so that its holder learns of it."""
        if old_id not in ("0", lease_id):
            await self._revoke(old_id)

    async def _holds(self, key: str, lease_id: str) -> bool:
        answer = await self._call("/v3/kv/range", {"key": _b64(key), "keys_only": True})
        return any(str(kv.get("lease", "0")) == lease_id for kv in answer.get("kvs", ()))

    def _instance(self, kv: dict[str, Any]) -> Instance | None:
        """Return the instance in one key-value pair; None, with one warning, when it is not ours."""
        key = _raw(kv["key"]).decode(errors="replace")
        service, _, instance_id = key.removeprefix(self._prefix).partition("/")
        try:
            if instance_key(self._namespace, service, instance_id) != key:
                raise ValueError("not a key of ours")  # noqa: TRY301 - one place reports all that is foreign
            return decode_instance(service, instance_id, _raw(kv.get("value", "")))
        except (ValueError, UsageError) as error:
            self._foreign.report(key, int(kv["mod_revision"]), str(error))
            return None

    def _watch_request(self, from_revision: int) -> dict[str, Any]:
        request = {
            "key": _b64(self._prefix),
            "range_end": _b64(_after(self._prefix)),
            "start_revision": str(from_revision),
        }
        return {"create_request": request}


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text)


def _after(prefix: str) -> str:
    """Return the end of the range that holds exactly the keys beginning with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _is_lease_not_found(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and answer.body.get("code") == _GRPC_NOT_FOUND
