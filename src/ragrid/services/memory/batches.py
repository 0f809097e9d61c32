"""Several changes in one: decided purely, each seeing what those before it will have written."""

from collections.abc import Sequence

import msgspec

from ragrid.errors import RagridError
from ragrid.services.memory.changes import Change
from ragrid.services.memory.deciding import decide
from ragrid.services.memory.ground import Ground, Outcome, Overlay
from ragrid.services.memory.protocol.batch import Results


class Decided(msgspec.Struct, frozen=True):
    """What comes of changes that all succeed or none; `refusal` is what the change after the last outcome met."""

    outcomes: tuple[Outcome, ...]
    refusal: RagridError | None = None


def decide_all(ground: Ground, changes: Sequence[Change], *, seq: int) -> Decided:
    """Return what carries out all of `changes`, numbered from `seq` on; it ends at the first that is refused."""
    overlay = Overlay(ground)
    outcomes: list[Outcome] = []
    for change in changes:
        try:
            outcome = decide(overlay, change, seq=seq)
        except RagridError as refusal:
            return Decided(tuple(outcomes), refusal)
        overlay.add(change, outcome)
        outcomes.append(outcome)
        seq += len(outcome.versions)
    return Decided(tuple(outcomes))


def results_of(decided: Decided, count: int) -> Results:
    """Return what is told of `count` changes: every answer, or the one refusal among changes that were not made."""
    if decided.refusal is None:
        return tuple(outcome.written for outcome in decided.outcomes)
    refused = len(decided.outcomes)
    return (*[None] * refused, decided.refusal, *[None] * (count - refused - 1))
