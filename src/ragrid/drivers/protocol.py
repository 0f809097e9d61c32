"""How a grid is run, whatever runs it."""

from collections.abc import Mapping
from typing import Protocol

from ragrid.plan.steps import Step


class Driver(Protocol):
    """Turns steps into running parts. Running a step that was already run changes nothing."""

    def observe(self) -> Mapping[str, str]:
        """Return the revision of every part that the platform keeps running, by name."""
        ...

    def run(self, step: Step) -> None:
        """Carry out one step; returns when the platform has taken it, not when the part is ready.

        Raises UnreachableError when the platform does not answer and RagridError when it refuses.
        """
        ...
