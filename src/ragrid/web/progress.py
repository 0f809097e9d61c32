"""How far a long piece of work is, told by one thread and read by others."""

from typing import Any


class Progress:
    """How far an opening is. One thread writes it, any other may read it, and may ask for an end.

    `what` is in the words of a user. `step` is one of `steps`, and `done` of `total` rows are behind it; 0 where there
    is nothing to count. `work` grows as long as something goes on.
    """

    def __init__(self, what: str = "opening the store") -> None:
        self.what = what
        self.step = self.steps = self.done = self.total = self.work = 0
        self.is_stopped = False

    def begin(self, what: str, *, step: int = 0, steps: int = 0, total: int = 0) -> None:
        """Go over to something else."""
        self.what, self.step, self.steps, self.done, self.total = what, step, steps, 0, total
        self.work += 1

    def goes_on(self) -> bool:
        """Say that something was done; return whether to stop."""
        self.work += 1
        return self.is_stopped

    def stop(self) -> None:
        """Ask whoever opens to leave it."""
        self.is_stopped = True

    @property
    def percent(self) -> int | None:
        """How much of the rows of this step is done; None where they are not counted."""
        return min(99, self.done * 100 // self.total) if self.total else None

    def document(self) -> dict[str, Any]:
        """Return it as a member of a refusal."""
        return {"what": self.what, "step": self.step, "of": self.steps, "percent": self.percent, "work": self.work}

    def __str__(self) -> str:
        step = f": step {self.step} of {self.steps}" if self.steps else ""
        return f"{self.what}{step}" + ("" if self.percent is None else f", {self.percent} %")
