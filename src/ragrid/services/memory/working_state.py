"""The working state of a session: one JSON object with a version, and a life that each write begins anew. Pure."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ragrid.services.memory.changes import ANY, Condition, Scope
from ragrid.services.memory.errors import VersionError
from ragrid.services.memory.messages import document_faults
from ragrid.services.memory.model import TTL_S, moment
from ragrid.services.memory.validate import Fault

#: Largest `data` of a state, bytes of JSON.
STATE_BYTES = 256 * 1024

_encode = msgspec.json.Encoder().encode


class StateInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller puts: the whole state. Its time runs from each put and each append to the session anew."""

    data: dict[str, Any]
    ttl_seconds: Annotated[int, Meta(ge=1, le=TTL_S)] | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The working state as it is sent. `expires_at` moves with every append; the version does not."""

    session_id: str
    namespace: str
    data: dict[str, Any] | msgspec.Raw
    ttl_seconds: int | None
    expires_at: datetime | None
    version: int
    updated_at: datetime
    updated_by: str


class PutState(msgspec.Struct, frozen=True):
    """Replace the working state of a session."""

    scope: Scope
    session_id: str
    actor: str
    at_us: int
    given: StateInput
    condition: Condition = ANY


class StoredState(msgspec.Struct, frozen=True):
    """A state as a store keeps it; `data` is None when there is none, and the version is the last one that was."""

    version: int
    data: bytes | None = None
    ttl_s: int | None = None
    expires_us: int | None = None
    updated_us: int = 0
    updated_by: str = ""


class ReadState(msgspec.Struct, frozen=True):
    """A state rendered for its reader."""

    version: int
    doc: bytes
    is_new: bool = False


NO_STATE = StoredState(0)


def decide_state(current: StoredState, put: PutState) -> StoredState:
    """Return the state to store. Versions only grow, also across expiry. Raises VersionError."""
    version = current.version if is_state_visible(current, put.at_us) else None
    condition = put.condition
    if condition.must_be_absent and version is not None:
        raise VersionError(f"the session has a state (version {version}), wanted none", version)
    if condition.must_exist and version is None:
        raise VersionError("the session has no state, wanted any version", None)
    if condition.versions is not None and version not in condition.versions:
        wanted = " or ".join(str(one) for one in sorted(condition.versions)) or "no version at all"
        found = "the session has no state" if version is None else f"the state is at version {version}"
        raise VersionError(f"{found}, wanted {wanted}; read it again", version)
    stored = StoredState(
        version=current.version + 1,
        data=_encode(put.given.data),
        ttl_s=put.given.ttl_seconds,
        updated_us=put.at_us,
        updated_by=put.actor,
    )
    return slid(stored, put.at_us)


def slid(state: StoredState, at_us: int) -> StoredState:
    """Return `state` with its time running anew from `at_us`; one without a time to live is as it was."""
    if state.ttl_s is None:
        return state
    return msgspec.structs.replace(state, expires_us=at_us + state.ttl_s * 1_000_000)


def is_state_visible(state: StoredState, now_us: int) -> bool:
    """Tell whether a reader sees it at `now_us`."""
    return state.data is not None and (state.expires_us is None or state.expires_us > now_us)


def rendered_state(state: StoredState, scope: Scope, session_id: str) -> bytes:
    """Return the document of a state that is there."""
    if state.data is None:
        raise ValueError("there is no state to render")
    return _encode(
        State(
            session_id=session_id,
            namespace=scope.namespace,
            data=msgspec.Raw(state.data),
            ttl_seconds=state.ttl_s,
            expires_at=None if state.expires_us is None else moment(state.expires_us),
            version=state.version,
            updated_at=moment(state.updated_us),
            updated_by=state.updated_by,
        )
    )


def state_faults(given: StateInput) -> list[Fault]:
    """Return what is wrong with a state that no type can say."""
    return document_faults("data", given.data, STATE_BYTES)
