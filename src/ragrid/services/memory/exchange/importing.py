"""What every store does alike with copies that it takes one after the other: a verdict on each. Pure."""

from ragrid.services.memory.errors import InvalidBodyError
from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.lines import Copy


class Ledger:
    """The verdicts so far; `previous` is what was taken without a fault right before, None when that had faults."""

    def __init__(self) -> None:
        self._verdicts: list[Verdict] = []
        self.previous: Copy | None = None

    def took(self, copy: Copy, *, is_new: bool) -> None:
        """Note a copy without a fault; it is new, or was here already."""
        self._verdicts.append(Verdict(is_new=is_new))
        self.previous = copy

    def refused(self, error: InvalidBodyError) -> None:
        """Note a copy with faults."""
        self._verdicts.append(Verdict(faults=error.faults))
        self.previous = None

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each copy, in their order."""
        return tuple(self._verdicts)

    @property
    def has_faults(self) -> bool:
        """Whether any was refused: an atomic import then leaves nothing."""
        return any(one.faults for one in self._verdicts)
