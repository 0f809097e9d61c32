"""How much of the grid Prometheus sees: what should be scraped, held against what Prometheus says that it scrapes."""

from collections.abc import Iterable
from dataclasses import dataclass

import httpx
import msgspec

from ragrid.errors import RagridError, UnreachableError

TARGETS_PATH = "/api/v1/targets"


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of the expected parts whose every target answered the last scrape, 0 to 1.

    `missing` are parts without a target, `down` those with a target that did not answer, or was not asked yet.
    """

    ratio: float
    missing: tuple[str, ...]
    down: tuple[str, ...]


class _Target(msgspec.Struct, frozen=True, kw_only=True):
    labels: dict[str, str]
    health: str


class _Targets(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    active_targets: tuple[_Target, ...]


class _Reply(msgspec.Struct, frozen=True, kw_only=True):
    data: _Targets


def coverage(expected: Iterable[str], targets: bytes) -> Coverage:
    """Return the coverage of the `expected` parts; `targets` is what Prometheus answers at TARGETS_PATH (pure).

    Nothing expected is full coverage. Raises RagridError when `targets` is not that answer.
    """
    try:
        found = msgspec.json.decode(targets, type=_Reply).data.active_targets
    except msgspec.MsgspecError as error:
        raise RagridError(f"{TARGETS_PATH}: {error}; wanted Prometheus's list of targets; is it Prometheus?") from error
    wanted = frozenset(expected)
    seen = {target.labels.get("part", "") for target in found}
    failing = {target.labels.get("part", "") for target in found if target.health != "up"}
    missing, down = wanted - seen, wanted & failing
    ratio = 1 - (len(missing) + len(down)) / len(wanted) if wanted else 1.0
    return Coverage(ratio, tuple(sorted(missing)), tuple(sorted(down)))


def fetch_coverage(url: str, expected: Iterable[str], *, timeout_s: float = 5.0) -> Coverage:
    """Ask the Prometheus at `url` and return the coverage of the `expected` parts.

    Raises UnreachableError when it does not answer, and RagridError when it answers something else.
    """
    try:
        # The environment's proxies are for the way out; this address is of the grid.
        with httpx.Client(trust_env=False, timeout=timeout_s) as client:
            answer = client.get(f"{url}{TARGETS_PATH}", params={"state": "active"})
    except httpx.HTTPError as error:
        message = f"prometheus at {url}: {error!r}, wanted its list of targets; see `ragrid logs prometheus`"
        raise UnreachableError(message) from error
    if answer.status_code != httpx.codes.OK:
        raise UnreachableError(f"prometheus at {url}: got status {answer.status_code}, wanted 200; see its log")
    return coverage(expected, answer.content)
