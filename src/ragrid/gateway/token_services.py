"""Where the controller learns keys and revocations: any token service of the grid will do."""

import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from ragrid.errors import StateError, UnreachableError
from ragrid.gateway.state import RevokedList, VerificationKey, keys_from_jwks, parse_revocations
from ragrid.spec.settings import ClientTls
from ragrid.system.tls import client_context

logger = logging.getLogger(__name__)

#: Longest wait for one answer, seconds; a service waits a second for something new before it answers.
ANSWER_TIMEOUT_S = 3.0
KEYS_PATH = "/.well-known/jwks.json"
#: On a token service's private port, beside the keys.
REVOCATIONS_PATH = "/revocations"


@dataclass(frozen=True, slots=True)
class Published:
    """What one token service publishes: read, and as it came."""

    keys: tuple[VerificationKey, ...]
    revoked: RevokedList
    jwks: bytes
    revocations: bytes


class TokenServices:
    """The token services of a grid, which share one store; the one that answered last is asked first."""

    def __init__(self, addresses: Sequence[str], *, tls: ClientTls | None) -> None:
        self._order = list(addresses)
        self._http = httpx.AsyncClient(verify=_trust(tls), timeout=ANSWER_TIMEOUT_S, trust_env=False)

    async def published(self, after: str) -> Published:
        """Return what the first one that can tell publishes, when it is no longer `after` or a second has passed.

        Raises UnreachableError or StateError, naming each and what is wrong with it, when none can tell.
        """
        faults: list[UnreachableError | StateError] = []
        for address in tuple(self._order):
            try:
                published = await self._ask(address, after)
            except (UnreachableError, StateError) as error:
                faults.append(error)
                continue
            if faults:
                logger.warning("another token service is asked from now on", extra={"address": address})
                self._order.remove(address)
                self._order.insert(0, address)
            return published
        if len(faults) == 1:
            raise faults[0]
        raise UnreachableError("; ".join(str(fault) for fault in faults))

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def _ask(self, address: str, after: str) -> Published:
        revocations = await self._fetch(f"{address}{REVOCATIONS_PATH}?after={after}")
        jwks = await self._fetch(f"{address}{KEYS_PATH}")
        return Published(keys_from_jwks(jwks), parse_revocations(revocations), jwks, revocations)

    async def _fetch(self, url: str) -> bytes:
        try:
            answer = await self._http.get(url)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise UnreachableError(f"{url}: {error!r}; is the token service running?") from error
        return answer.content


def _trust(tls: ClientTls | None) -> ssl.SSLContext | bool:
    """Return how a token service is spoken to, when it wants a certificate."""
    if tls is None:
        return True
    return client_context(
        authority_file=tls.authority_file, certificate_file=tls.certificate_file, key_file=tls.key_file
    )
