"""Keeps the signing keys: loads them, rotates them in time, and stores every change before it is used."""

import logging

from ragrid.identity.keys import FixedKeys
from ragrid.services.tokens import rotation
from ragrid.services.tokens.keyring import Keyring, make_pair, stored
from ragrid.services.tokens.store import AuditEvent, Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)


#: How long this process must have shown a key before it signs with it, seconds. The gateway's controller asks each
#: second and tries again after one; a key of a process which died at once may have been seen by nobody.
SEEN_S = 5.0


class KeyKeeper:
    """The keys of the running service: `keyring` signs and publishes, `published` is what verifiers see."""

    def __init__(self, settings: TokensSettings, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        longest_s = max(settings.access_token_s, settings.service_token_s)
        self._schedule = rotation.schedule_for(settings.key_rotation_s, longest_token_s=longest_s)
        self.keyring = self._load()
        self._shown_s = dict.fromkeys(self.keyring.pairs, clock.monotonic_s())
        self.published = FixedKeys(self.keyring.verification_keys())

    def tend(self) -> bool:
        """Do what the schedule asks for now; return whether the keys changed."""
        spares = {pair.kid: pair for pair in (make_pair(), make_pair())}
        first, second = spares
        records = rotation.advance(self.keyring.records, self._clock.now_s(), self._schedule, (first, second))
        changes_signer = any(one.state == "current" and one.kid != self.keyring.current.kid for one in records)
        if records == self.keyring.records or (changes_signer and self.unseen_s() > 0.0):
            return False
        self._use(Keyring(stored(records, {**self.keyring.pairs, **spares})), by="schedule")
        return True

    def unseen_s(self) -> float:
        """Return how many seconds the next key must still be shown before verifiers can be expected to know it."""
        following = next(record.kid for record in self.keyring.records if record.state == "next")
        return max(0.0, SEEN_S - (self._clock.monotonic_s() - self._shown_s[following]))

    def rotate_now(self, *, drop_current: bool, by: str) -> None:
        """Sign with the next key at once; `drop_current` also ends every token that the current one signed."""
        spare = make_pair()
        now_s = self._clock.now_s()
        records = rotation.promote_now(self.keyring.records, now_s, spare.kid, drop_current=drop_current)
        self._use(Keyring(stored(records, {**self.keyring.pairs, spare.kid: spare})), by=by)

    def withdraw(self, kid: str, *, by: str) -> bool:
        """Take a key out of use at once, with every token that it signed; return whether there is such a key."""
        if kid not in self.keyring.pairs:
            return False
        spare = make_pair()
        records = rotation.withdraw(self.keyring.records, self._clock.now_s(), spare.kid, kid)
        self._use(Keyring(stored(records, {**self.keyring.pairs, spare.kid: spare})), by=by)
        return True

    def age_s(self) -> float:
        """Return for how long the current key has been signing, seconds."""
        return max(0.0, self._clock.now_s() - (self.keyring.current.activated_s or 0.0))

    def _load(self) -> Keyring:
        found = self._store.keys()
        pairs = {key.pair.kid: key.pair for key in found}
        pairs |= (spares := {pair.kid: pair for pair in (make_pair(), make_pair())})
        first, second = spares
        known = rotation.ordered(key.record for key in found)
        records = known
        if not {"next", "current"} <= {record.state for record in known}:
            records = rotation.advance(known, self._clock.now_s(), self._schedule, (first, second))
        keyring = Keyring(stored(records, pairs))
        if records != known:
            self._save(keyring, by="start")
        return keyring

    def _use(self, keyring: Keyring, *, by: str) -> None:
        self._save(keyring, by=by)
        self.keyring = keyring
        now_s = self._clock.monotonic_s()
        self._shown_s = {kid: self._shown_s.get(kid, now_s) for kid in keyring.pairs}
        self.published.replace(keyring.verification_keys())

    def _save(self, keyring: Keyring, *, by: str) -> None:
        states = {record.kid: record.state for record in keyring.records}
        with self._store.change():
            self._store.replace_keys(stored(keyring.records, keyring.pairs))
            self._store.audit(
                AuditEvent(at_s=self._clock.now_s(), event="keys-changed", details={"by": by, "keys": states})
            )
        self._store.scrub()
        logger.info("signing keys changed", extra={"by": by, "keys": states})
