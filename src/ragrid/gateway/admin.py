"""The admin socket of nginx, as the controller speaks to it."""

import json
from dataclasses import dataclass
from pathlib import Path

import httpx

from ragrid.errors import ConflictError, RagridError, UnreachableError
from ragrid.gateway.state import GatewayState, dump_state

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """nginx has the state; `kept` names the pools that it did not empty."""

    version: int
    applied: bool
    kept: tuple[str, ...]


class OlderVersionError(ConflictError):
    """nginx has a newer state; `current_version` is its version."""

    def __init__(self, current_version: int) -> None:
        super().__init__(f"nginx has state {current_version}; send a higher version")
        self.current_version = current_version


class AdminSocket:
    """A client for `PUT /state` on the unix socket `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), timeout=TIMEOUT_S, trust_env=False
        )

    async def put(self, state: GatewayState, *, age_s: float | None = 0.0) -> Accepted:
        """Hand `state` to nginx; its keys and revocations were confirmed `age_s` seconds ago (None: unknown).

        Raises OlderVersionError, UnreachableError when nginx does not answer, RagridError when it refuses the state.
        """
        try:
            age = "unknown" if age_s is None else f"{age_s:.3f}"
            answer = await self._client.put("http://nginx/state", params={"age_s": age}, content=dump_state(state))
            said = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(
                f"{self._path}: nginx does not answer: {error!r}; is the gateway running?"
            ) from error
        if answer.status_code == httpx.codes.CONFLICT:
            raise OlderVersionError(int(said["current_version"]))
        if answer.status_code != httpx.codes.OK:
            raise RagridError(f"{self._path}: nginx refused state {state.version}: {json.dumps(said)[:500]}")
        return Accepted(int(said["version"]), bool(said["applied"]), tuple(said.get("kept", ())))

    async def close(self) -> None:
        """Release the connection."""
        await self._client.aclose()
