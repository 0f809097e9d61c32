"""policy.json: what the Lua of the edge decides by (pure)."""

import dataclasses
from typing import Any

from ragrid.gateway.config import EdgeService, GatewayConfig, Limits, MutualTls
from ragrid.gateway.route import Route
from ragrid.gateway.routes import POLICY

#: Between two pieces of an answer, for routes that say nothing else.
READ_TIMEOUT_S = 60.0


def policy_table(config: GatewayConfig) -> dict[str, Any]:
    """Return the content of policy.json. Raises KeyError for a service that `routes.POLICY` does not know."""
    return {
        "issuer": config.issuer,
        "state_age_limit_s": config.state_age_limit_s,
        "state_file": str(config.state_file),
        "places": {
            "run_directory": str(config.run_directory),
            "log_directory": str(config.log_directory),
            "admin_socket": str(config.admin_socket),
        },
        "reload_outcome": str(config.reload_outcome),
        "health": dataclasses.asdict(config.health),
        **_mutual_tls_table(config.mutual_tls),
        "services": {
            service.name: _service_table(service, is_mutual=config.mutual_tls is not None)
            for service in config.services
        },
    }


def _mutual_tls_table(mutual: MutualTls | None) -> dict[str, Any]:
    if mutual is None:
        return {}
    files = {"certificate_file": str(mutual.certificate_file), "key_file": str(mutual.key_file)}
    return {"mutual_tls": {**files, "server_name": mutual.server_name}}


def _service_table(service: EdgeService, *, is_mutual: bool) -> dict[str, Any]:
    policy = POLICY[service.name]
    return {
        "name": service.name,
        "balance": service.balance,
        "limits": _limits_table(service.limits),
        "slow_start_s": service.slow_start_s,
        "health_path": policy.health_path,
        **({"mutual_tls": True} if is_mutual and policy.forwards_authorization else {}),
        "routes": [_route_table(service.name, route) for route in policy.routes],
    }


def _limits_table(limits: Limits) -> dict[str, Any]:
    quota = {} if limits.tokens_per_minute is None else {"tokens_per_minute": limits.tokens_per_minute}
    return {"policy": limits.policy, **quota}


def _route_table(service: str, route: Route) -> dict[str, Any]:
    return {
        "service": service,
        "name": route.name,
        "methods": dict.fromkeys(route.methods, True),
        "expression": route.expression,
        "idempotent": route.idempotent,
        "body_limit_bytes": route.body_limit_bytes,
        **({} if route.read_timeout_s == READ_TIMEOUT_S else {"read_timeout_s": route.read_timeout_s}),
        **({} if route.permission is None else {"permission": route.permission}),
        **({} if route.answer is None else {"answer": route.answer}),
        **({"owned": True} if route.is_owned else {}),
        **({"held": True} if route.is_held else {}),
        **({"patient": True} if route.is_patient else {}),
        **({"metered": True} if route.is_metered else {}),
    }
