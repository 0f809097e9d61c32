"""A driver that runs nothing and remembers everything; for plans, tests and rehearsals."""

from collections.abc import Mapping

from ragrid.plan.steps import Action, Step


class MemoryDriver:
    """Keeps the parts as a table of names and revisions."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def observe(self) -> Mapping[str, str]:
        """Return the revision of every part by name."""
        return dict(self._parts)

    def run(self, step: Step) -> None:
        """Carry out one step."""
        if step.action is Action.STOP:
            self._parts.pop(step.part, None)
        else:
            self._parts[step.part] = step.revision
