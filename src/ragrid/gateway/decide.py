"""What the edge should know next. Pure: from what is believed now and what was handed out last."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ragrid.gateway.state import GatewayState, Revocations, ServiceState, VerificationKey, endpoints_of
from ragrid.registry.protocol import Instance


@dataclass(frozen=True, slots=True)
class Known:
    """What the controller believes; None means that it never learned it."""

    instances: tuple[Instance, ...] | None = None
    keys: tuple[VerificationKey, ...] | None = None
    roles: Mapping[str, tuple[str, ...]] | None = None
    revoked: Revocations | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The state to hand out (None while something needed was never learned), and why, in one sentence."""

    state: GatewayState | None
    sentence: str


def decide(last: GatewayState | None, known: Known) -> Decision:
    """Return what to hand out after `last`.

    Invariant: the version grows exactly when something changed. What was never learned since this process began is
    taken from `last`. `registry.confirm` never leaves a service without its last instances; one that never had any
    is in the state with a confirmed empty list.
    """
    keys = known.keys or (last.keys if last else None)
    roles = known.roles if known.roles is not None else (last.roles if last else None)
    if not keys:
        return Decision(last, "waiting for the first keys of the token service")
    if roles is None:
        return Decision(last, "waiting for the roles of the policy file")
    state = GatewayState(
        version=last.version if last else 0,
        keys=keys,
        services=_services(last, known.instances),
        roles={name: tuple(sorted(permissions)) for name, permissions in sorted(roles.items())},
        revoked=known.revoked or (last.revoked if last else Revocations()),
    )
    if last is not None and state == last:
        return Decision(last, f"nothing changed since version {last.version}")
    return Decision(msgspec.structs.replace(state, version=state.version + 1), _sentence(last, state))


def _services(last: GatewayState | None, instances: tuple[Instance, ...] | None) -> dict[str, ServiceState]:
    before = dict(last.services) if last else {}
    if instances is None:
        return before
    usable = tuple(one for one in instances if is_usable(one))
    names = sorted(before.keys() | {one.service for one in usable})
    found = {name: endpoints_of(name, usable) for name in names}
    return {name: ServiceState(endpoints=endpoints, confirmed=not endpoints) for name, endpoints in found.items()}


def is_usable(instance: Instance) -> bool:
    """Whether nginx can send requests there: it resolves no names, so the host must be an IP address."""
    try:
        ipaddress.ip_address(instance.host)
    except ValueError:
        return False
    return 0 < instance.port < 65536


def _sentence(last: GatewayState | None, state: GatewayState) -> str:
    if last is None:
        return f"first state: {_count(state)}"
    parts = [
        f"{name}: {len(_endpoints(last, name))} to {len(_endpoints(state, name))} instances"
        for name in sorted(last.services.keys() | state.services.keys())
        if _endpoints(last, name) != _endpoints(state, name)
    ]
    if last.keys != state.keys:
        parts.append(f"keys: now {', '.join(key.kid for key in state.keys)}")
    if last.roles != state.roles:
        parts.append("roles changed")
    if last.revoked != state.revoked:
        parts.append("revocations changed")
    return "; ".join(parts) or "an empty pool was confirmed"


def _endpoints(state: GatewayState, name: str) -> tuple[object, ...]:
    service = state.services.get(name)
    return service.endpoints if service else ()


def _count(state: GatewayState) -> str:
    instances = sum(len(service.endpoints) for service in state.services.values())
    return f"{instances} instances of {len(state.services)} services, {len(state.keys)} keys, {len(state.roles)} roles"
