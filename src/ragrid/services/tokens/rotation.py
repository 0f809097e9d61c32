"""Key rotation, pure: from the keys there are, the time and a schedule to the keys there should be.

A key is published as `next` long before it signs, signs as `current`, and stays published as `previous` until the last
token that it signed has expired. So a verifier that fetches the key set now and then never meets an unknown key, and
nobody is logged out. Invariants, each with a test:

* there is exactly one `current` and one `next`, from the first call on;
* a key signs only after it was published for `publish_ahead_s` (the very first one excepted);
* a key is published for `hold_s` after its last signature;
* a lost result (crash before it was stored) or a repeated call changes nothing of the above.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

KeyState = Literal["next", "current", "previous"]

#: How long verifiers may keep a copy of the key set, seconds: `max-age` of /.well-known/jwks.json.
JWKS_MAX_AGE_S = 300.0
#: How far the clocks of two hosts may differ, seconds.
SKEW_S = 60.0
#: On top of every computed wait, seconds: what a person needs to notice and mend a stuck consumer.
MARGIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One signing key without its material. Times are seconds since 1970."""

    kid: str
    state: KeyState
    created_s: float
    activated_s: float | None = None
    retired_s: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """When keys change: every `rotation_s`, published `publish_ahead_s` before, `hold_s` after they signed."""

    rotation_s: float
    publish_ahead_s: float
    hold_s: float


def schedule_for(rotation_s: float, *, longest_token_s: float) -> Schedule:
    """Return the schedule for keys that change every `rotation_s` and sign tokens of up to `longest_token_s`."""
    return Schedule(
        rotation_s=rotation_s,
        publish_ahead_s=min(MARGIN_S, rotation_s / 4),
        hold_s=longest_token_s + JWKS_MAX_AGE_S + SKEW_S + MARGIN_S,
    )


def advance(
    keys: Iterable[KeyRecord], now_s: float, schedule: Schedule, spares: tuple[str, str]
) -> tuple[KeyRecord, ...]:
    """Return the keys as they should be at `now_s`; `spares` are names for new keys, taken only where one is missing.

    Times that lie in the future (the clock was set back) count as now: a key is then held too long, never too short.
    """
    known = [_not_after(key, now_s) for key in keys]
    kept = [key for key in known if not _is_over(key, now_s, schedule)]
    current = _one(kept, "current")
    following = _one(kept, "next")
    unused = list(spares)
    if current is not None and following is not None and _is_due(current, following, now_s, schedule):
        kept = _promoted(kept, now_s)
    elif current is None:
        kept = _with_current(kept, following, unused, now_s)
    if _one(kept, "next") is None:
        kept.append(KeyRecord(unused.pop(0), "next", created_s=now_s))
    return ordered(kept)


def promote_now(keys: Iterable[KeyRecord], now_s: float, spare: str, *, drop_current: bool) -> tuple[KeyRecord, ...]:
    """Return the keys after a rotation that somebody asked for; wanted: keys that `advance` returned.

    With `drop_current` (its private half leaked) every token that it signed dies with the next fetch of the key set.
    """
    kept = [key for key in keys if not (drop_current and key.state == "current")]
    return ordered([*_promoted(kept, now_s), KeyRecord(spare, "next", created_s=now_s)])


def withdraw(keys: Iterable[KeyRecord], now_s: float, spare: str, kid: str) -> tuple[KeyRecord, ...]:
    """Return the keys after `kid` was taken out of use at once, whatever it was; wanted: keys that `advance` returned.

    Every token that it signed dies with the next fetch of the key set. When it was the one that signs, the next one
    signs at once; when it was the next one, another is published in its place.
    """
    known = tuple(keys)
    kept = [key for key in known if key.kid != kid]
    if any(key.kid == kid and key.state == "current" for key in known):
        kept = _promoted(kept, now_s)
    if _one(kept, "next") is None:
        kept.append(KeyRecord(spare, "next", created_s=now_s))
    return ordered(kept)


def ordered(keys: Iterable[KeyRecord]) -> tuple[KeyRecord, ...]:
    """Return next, current, then previous keys, the latest retired first."""
    rank = {"next": 0, "current": 1, "previous": 2}
    return tuple(sorted(keys, key=lambda key: (rank[key.state], -(key.retired_s or 0.0), key.kid)))


def _promoted(keys: Sequence[KeyRecord], now_s: float) -> list[KeyRecord]:
    changed: list[KeyRecord] = []
    for key in keys:
        if key.state == "current":
            changed.append(replace(key, state="previous", retired_s=now_s))
        elif key.state == "next":
            changed.append(replace(key, state="current", activated_s=now_s))
        else:
            changed.append(key)
    return changed


def _with_current(
    keys: Sequence[KeyRecord], following: KeyRecord | None, unused: list[str], now_s: float
) -> list[KeyRecord]:
    """Return keys that can sign: nothing could be signed before, so waiting for the publication protects nobody."""
    if following is not None:
        return _promoted(keys, now_s)
    return [*keys, KeyRecord(unused.pop(0), "current", created_s=now_s, activated_s=now_s)]


def _is_due(current: KeyRecord, following: KeyRecord, now_s: float, schedule: Schedule) -> bool:
    signed_s = now_s - (current.created_s if current.activated_s is None else current.activated_s)
    return signed_s >= schedule.rotation_s and now_s - following.created_s >= schedule.publish_ahead_s


def _is_over(key: KeyRecord, now_s: float, schedule: Schedule) -> bool:
    return key.state == "previous" and key.retired_s is not None and now_s - key.retired_s >= schedule.hold_s


def _not_after(key: KeyRecord, now_s: float) -> KeyRecord:
    return replace(
        key,
        created_s=min(key.created_s, now_s),
        activated_s=None if key.activated_s is None else min(key.activated_s, now_s),
        retired_s=None if key.retired_s is None else min(key.retired_s, now_s),
    )


def _one(keys: Iterable[KeyRecord], state: KeyState) -> KeyRecord | None:
    return next((key for key in keys if key.state == state), None)
