"""What counts for nothing although its signature holds: learned from the file that the gateway controller keeps."""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

#: A change of the file is seen this late at most, seconds; one stat(2) costs about a microsecond.
STAT_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was revoked.

    `tokens` has the expiry of single tokens by their id; `subjects` and `clients` the time before which every token of
    theirs was issued that is meant. All times are seconds since 1970.
    """

    tokens: Mapping[str, float] = field(default_factory=dict)
    subjects: Mapping[str, float] = field(default_factory=dict)
    clients: Mapping[str, float] = field(default_factory=dict)

    def covers(self, *, token_id: str, subject: str, client_id: str, issued_s: float) -> bool:
        """Return whether a token was revoked, by itself or with its subject or client."""
        return token_id in self.tokens or issued_s < self.not_before_s(subject, client_id)

    def not_before_s(self, subject: str, client_id: str) -> float:
        """Return the time from which on tokens of this subject, issued to this client, are good."""
        return max(self.subjects.get(subject, 0.0), self.clients.get(client_id, 0.0))


class RevocationSource(Protocol):
    """Where revocations come from."""

    @property
    def revoked(self) -> Revoked:
        """Return what is revoked at this moment; reading it may look at the source."""
        ...


class NothingRevoked:
    """For a verifier that hears of no revocations."""

    revoked = Revoked()


class RevocationFile:
    """The revocations in a file, read again when it changes; the controller touches it whenever it has asked.

    The last good ones stay when the file is broken or gone: what was revoked once is not good again. Until there is a
    file, nothing is known to be revoked, and `age_s` says so.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._revoked = Revoked()
        self._content = b""
        self._seen: tuple[int, int, int] | None = None
        self._confirmed_s = -math.inf
        self._complained = ""
        self._next_stat_s = -math.inf

    @property
    def revoked(self) -> Revoked:
        """Return what is revoked; looks at the file every 0.05 s at most."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_stat_s:
            self._next_stat_s = now_s + STAT_INTERVAL_S
            self._look()
        return self._revoked

    def age_s(self) -> float:
        """Return how long ago the token service last confirmed what is known here, seconds; infinite when never."""
        self._look()
        return max(0.0, self._clock.now_s() - self._confirmed_s)

    def _look(self) -> None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - half the price of Path.stat, and it is on the hot path
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            content = self._path.read_bytes()
            if content != self._content:
                self._revoked = parse_revoked(content)
                self._content = content
                logger.info("revocations changed", extra={"tokens": len(self._revoked.tokens), "file": str(self._path)})
        except (OSError, msgspec.MsgspecError) as error:
            self._complain(str(error))
            return
        self._seen, self._confirmed_s, self._complained = seen, status.st_mtime, ""

    def _complain(self, reason: str) -> None:
        if reason != self._complained:
            self._complained = reason
            logger.warning("revocations not readable; what was revoked stays so", extra={"reason": reason})


class _Token(msgspec.Struct, frozen=True):
    jti: str
    exp: float


class _Listed(msgspec.Struct, frozen=True):
    revoked: tuple[_Token, ...]
    subjects: dict[str, float] = {}
    clients: dict[str, float] = {}


def parse_revoked(content: bytes) -> Revoked:
    """Return what the token service says is revoked (its `/revocations`). Raises msgspec.MsgspecError."""
    listed = msgspec.json.decode(content, type=_Listed)
    return Revoked({one.jti: one.exp for one in listed.revoked}, listed.subjects, listed.clients)
