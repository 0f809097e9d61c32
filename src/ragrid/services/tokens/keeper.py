"""Keeps the signing keys: loads them, rotates them in time, and stores every change before it is used."""

import logging
from collections.abc import Callable, Sequence

from ragrid.identity.keys import FixedKeys
from ragrid.services.tokens import rotation
from ragrid.services.tokens.keyring import KeyPair, Keyring, make_pair, stored
from ragrid.services.tokens.rotation import KeyRecord
from ragrid.services.tokens.store import AuditEvent, Store
from ragrid.spec.settings import TokensSettings
from ragrid.system.clock import Clock

logger = logging.getLogger(__name__)

Records = tuple[KeyRecord, ...]

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
        """Do what the schedule asks for now; return whether this process changed the keys.

        Of several replicas one does: each looks again once it is its turn, and then finds nothing left to do.
        """
        spares = (make_pair(), make_pair())

        def due(known: Records) -> Records:
            names = (spares[0].kid, spares[1].kid)
            records = rotation.advance(known, self._clock.now_s(), self._schedule, names)
            changes_signer = _signer(records) != _signer(known)
            return known if changes_signer and self._unseen_s(known) > 0.0 else records

        if due(self.keyring.records) == self.keyring.records:
            return False
        return self._change(due, spares, by="schedule")

    def follow(self) -> bool:
        """Take over the keys as another replica has left them; return whether they were others."""
        found = self._store.keys()
        if rotation.ordered(key.record for key in found) == self.keyring.records:
            return False
        self._adopt(Keyring(found))
        logger.info("signing keys were changed by another replica", extra={"kid": self.keyring.current.kid})
        return True

    def unseen_s(self) -> float:
        """Return how many seconds the next key must still be shown before verifiers can be expected to know it."""
        return self._unseen_s(self.keyring.records)

    def rotate_now(self, *, drop_current: bool, by: str) -> None:
        """Sign with the next key at once; `drop_current` also ends every token that the current one signed."""
        spare, now_s = make_pair(), self._clock.now_s()
        self._change(
            lambda known: rotation.promote_now(known, now_s, spare.kid, drop_current=drop_current), (spare,), by=by
        )

    def withdraw(self, kid: str, *, by: str) -> bool:
        """Take a key out of use at once, with every token that it signed; return whether there is such a key."""
        spare, now_s = make_pair(), self._clock.now_s()

        def without(known: Records) -> Records:
            if all(record.kid != kid for record in known):
                return known
            return rotation.withdraw(known, now_s, spare.kid, kid)

        return self._change(without, (spare,), by=by)

    def age_s(self) -> float:
        """Return for how long the current key has been signing, seconds."""
        return max(0.0, self._clock.now_s() - (self.keyring.current.activated_s or 0.0))

    def _unseen_s(self, records: Records) -> float:
        following = next(record.kid for record in records if record.state == "next")
        now_s = self._clock.monotonic_s()
        return max(0.0, SEEN_S - (now_s - self._shown_s.get(following, now_s)))

    def _load(self) -> Keyring:
        spares = (make_pair(), make_pair())

        def complete(known: Records) -> Records:
            if {"next", "current"} <= {record.state for record in known}:
                return known
            return rotation.advance(known, self._clock.now_s(), self._schedule, (spares[0].kid, spares[1].kid))

        keyring, _ = self._store_change(complete, spares, by="start")
        return keyring

    def _change(self, decide: Callable[[Records], Records], spares: Sequence[KeyPair], *, by: str) -> bool:
        keyring, is_changed = self._store_change(decide, spares, by=by)
        self._adopt(keyring)
        return is_changed

    def _adopt(self, keyring: Keyring) -> None:
        self.keyring = keyring
        now_s = self._clock.monotonic_s()
        self._shown_s = {kid: self._shown_s.get(kid, now_s) for kid in keyring.pairs}
        self.published.replace(keyring.verification_keys())

    def _store_change(
        self, decide: Callable[[Records], Records], spares: Sequence[KeyPair], *, by: str
    ) -> tuple[Keyring, bool]:
        """Store what `decide` makes of the stored keys; return them, and whether they are others than before."""
        with self._store.change():
            found = self._store.keys()
            known = rotation.ordered(key.record for key in found)
            records = decide(known)
            if records == known:
                return Keyring(found), False
            pairs = {pair.kid: pair for pair in (*(key.pair for key in found), *spares)}
            keys = stored(records, pairs)
            self._store.replace_keys(keys)
            states = {record.kid: record.state for record in records}
            event = AuditEvent(at_s=self._clock.now_s(), event="keys-changed", details={"by": by, "keys": states})
            self._store.audit(event)
        self._store.scrub()
        logger.info("signing keys changed", extra={"by": by, "keys": states})
        return Keyring(keys), True


def _signer(records: Records) -> str | None:
    return next((record.kid for record in records if record.state == "current"), None)
