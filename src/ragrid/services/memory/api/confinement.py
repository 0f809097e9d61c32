"""Tokens that are for a part of the tenant's memories: what each operation makes of `memory_ns` and `memory_user`.

What lies outside is not there (404). An operation that cannot stay inside is refused to such a token as a whole (403).
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from ragrid.identity.claims import Claims
from ragrid.identity.confinement import is_within
from ragrid.services.memory.filters.model import Some
from ragrid.services.memory.protocol.memories import Filter
from ragrid.web.problem import Problem

_NOTHING = Some(())
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ragrid", error="insufficient_scope"'}
#: The namespace of a request that names none, and whose token does not say otherwise.
DEFAULT_NAMESPACE = "default"

#: How far an operation can be held: to the memories of one `user`, to some `namespaces`, or to the `tenant` only. One
#: that is not here is held to the tenant. Sessions, feeds and exports are everybody's who is in the namespace.
HELD_TO: Mapping[str, Literal["user", "namespaces"]] = {
    "changeMemories": "user",
    "createMemory": "user",
    "deleteMemory": "user",
    "forgetMemories": "user",
    "listMemories": "user",
    "packContext": "user",
    "patchMemory": "user",
    "readDescription": "user",
    "readHistory": "user",
    "readMemory": "user",
    "replaceMemory": "user",
    "restoreMemory": "user",
    "searchMemories": "user",
    "appendMessages": "namespaces",
    "deleteNamespace": "namespaces",
    "deleteSession": "namespaces",
    "exportMemories": "namespaces",
    "importMemories": "namespaces",
    "listMessages": "namespaces",
    "listNamespaces": "namespaces",
    "listSessions": "namespaces",
    "putNamespace": "namespaces",
    "readChanges": "namespaces",
    "readNamespace": "namespaces",
    "readState": "namespaces",
    "replaceState": "namespaces",
    "streamChanges": "namespaces",
}


def check_confinement(operation_id: str, claims: Claims) -> None:
    """Raise a 403 Problem when the operation cannot be held to what the token is for."""
    held_to = HELD_TO.get(operation_id)
    if claims.memory_user is not None and held_to != "user":
        raise confined(f"the token is for the memories of {claims.memory_user!r} alone, and this is about more")
    if claims.memory_namespaces is not None and held_to is None:
        raise confined("the token is for some namespaces alone, and this is about all of them")


def is_held(operation_id: str, claims: Claims) -> bool:
    """Tell whether the operation can be held to what the token is for."""
    try:
        check_confinement(operation_id, claims)
    except Problem:
        return False
    return True


def confined(detail: str) -> Problem:
    """Return the refusal of what a token that is for less may not do."""
    detail += "; ask for a token without `memory_ns` and `memory_user`"
    return Problem(403, "token-confined", detail, headers=_CHALLENGE)


def check_purge(claims: Claims) -> None:
    """Raise a 403 Problem for who is held to one user: what a purge erases may have been another's before."""
    if claims.memory_user is not None:
        raise confined("a purge erases what a memory ever was, also when it was another user's")


def held_to(wanted: Filter, owner: str | None) -> Filter:
    """Return a filter that lets nothing through but what is the owner's, too."""
    if owner is None:
        return wanted
    if wanted.user_id not in (None, owner):
        return msgspec.structs.replace(wanted, where=_NOTHING)
    return msgspec.structs.replace(wanted, user_id=owner)


def namespace_within(claims: Claims, name: str | None) -> str:
    """Return the namespace of a request, which may name none. Raises a 404 Problem for one outside."""
    patterns = claims.memory_namespaces
    if name is None:
        name = DEFAULT_NAMESPACE if patterns is None or "*" in patterns[0] else patterns[0]
    if not is_within(name, patterns):
        raise Problem(404, "namespace-not-found", f"no namespace {name!r}")
    return name
