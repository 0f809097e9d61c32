"""An instance as Consul keeps it (pure): a service of its own name, and a TTL check whose notes hold the rest.

Other tools see a plain Consul service: `memory`, with address, port, weight, tags and a health check. Two grids on one
Consul share the name and are told apart by the tag `ragrid-<namespace>` and by the service's id.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ragrid.errors import UsageError
from ragrid.registry.codec import ForeignValues, decode_instance, encode_instance
from ragrid.registry.names import check_name
from ragrid.registry.protocol import Instance, Lease

#: The name of the check that is a lease; other checks of the same service can only take it out.
LEASE_CHECK = "ragrid lease"
#: Consul's shortest time after which a critical service is taken out of the catalog altogether (it is not listed
#: from the moment it is critical): https://developer.hashicorp.com/consul/api-docs/agent/check
_FORGET_AFTER = "1m"
#: Consul keeps at most 512 bytes in one value of a service's metadata, and weights from 1 to 65535.
_META_VALUE_SIZE = 500
_WEIGHTS = (1, 65_535)


class _Notes(msgspec.Struct, frozen=True):
    """The notes of a lease's check."""

    lease: str
    instance: msgspec.Raw


def grid_tag(namespace: str) -> str:
    """Return the tag that every service of one grid carries."""
    return f"ragrid-{namespace}"


def service_id(namespace: str, instance: Instance) -> str:
    """Return Consul's service id; `~` cannot be in our names, so no two instances share one."""
    return f"ragrid~{namespace}~{instance.service}~{instance.instance_id}"


def check_id(namespace: str, instance: Instance) -> str:
    """Return the id that Consul gives to the one check which a service is registered with."""
    return f"service:{service_id(namespace, instance)}"


def grid_filter(namespace: str) -> str:
    """Return Consul's filter for all checks of a grid, and those of the nodes under it."""
    return f'"{grid_tag(namespace)}" in ServiceTags or ServiceID == ""'


def registration(namespace: str, lease: Lease) -> dict[str, Any]:
    """Return the service definition of `lease`, check included."""
    instance = lease.instance
    version = instance.version.encode()[:_META_VALUE_SIZE].decode(errors="ignore")
    return {
        "ID": service_id(namespace, instance),
        "Name": instance.service,
        "Tags": ["ragrid", grid_tag(namespace), *(("draining",) if instance.draining else ())],
        "Address": instance.host,
        "Port": instance.port,
        "Weights": {"Passing": min(max(instance.weight, _WEIGHTS[0]), _WEIGHTS[1]), "Warning": 1},
        "Meta": {"ragrid_grid": namespace, "ragrid_instance": instance.instance_id, "ragrid_version": version},
        "Check": {
            "Name": LEASE_CHECK,
            "Notes": msgspec.json.encode(_Notes(lease.lease_id, msgspec.Raw(encode_instance(instance)))).decode(),
            "TTL": f"{round(lease.ttl_s * 1000)}ms",
            "Status": "passing",
            "DeregisterCriticalServiceAfter": _FORGET_AFTER,
        },
    }


def holds(checks: Iterable[Mapping[str, Any]], lease: Lease) -> bool:
    """Tell whether one of `checks` is that of `lease`, and has not run out."""
    return any(_lease_of(one) == lease.lease_id and one["Status"] == "passing" for one in checks)


def live_instances(checks: Iterable[Mapping[str, Any]], namespace: str, foreign: ForeignValues) -> tuple[Instance, ...]:
    """Return what `checks` (see `grid_filter`) say is there, sorted; like Consul's DNS, without what is critical.

    A critical check of anybody counts, of the service or of its node: maintenance mode and dead hosts take out.
    """
    seen = tuple(checks)
    critical = {(one["Node"], one["ServiceID"]) for one in seen if one["Status"] == "critical"}
    found = (
        _instance(one, namespace, foreign)
        for one in seen
        if one["Name"] == LEASE_CHECK and not critical & {(one["Node"], one["ServiceID"]), (one["Node"], "")}
    )
    return tuple(sorted((one for one in found if one), key=lambda one: (one.service, one.instance_id)))


def _instance(check: Mapping[str, Any], namespace: str, foreign: ForeignValues) -> Instance | None:
    """Return the instance of one check; None, with one warning, when it is not ours."""
    try:
        instance_id = check_name("instance id", str(check["ServiceID"]).rpartition("~")[2])
        notes = msgspec.json.decode(check["Notes"], type=_Notes)
        instance = decode_instance(check_name("service", check["ServiceName"]), instance_id, bytes(notes.instance))
        if service_id(namespace, instance) != check["ServiceID"]:
            raise ValueError("not a service id of ours")  # noqa: TRY301 - one place reports all that is foreign
    except (ValueError, UsageError) as error:
        foreign.report(str(check["ServiceID"]), int(check["ModifyIndex"]), str(error))
        return None
    return instance


def _lease_of(check: Mapping[str, Any]) -> str:
    try:
        return msgspec.json.decode(check["Notes"], type=_Notes).lease
    except msgspec.MsgspecError:
        return ""
