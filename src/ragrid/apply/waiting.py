"""How long a part that is not ready yet has stood still: pure, the time is told."""

from ragrid.drivers.local.health import Health


class Watch:
    """Hears every answer of the parts that are waited for.

    A part moves when any other became ready, and when its own `progress` says that more work was done than ever before.
    More than ever: what fails and begins again from the start, again and again, counts as standing still.
    """

    def __init__(self, now_s: float) -> None:
        self._changed_s = now_s
        self._moved_s: dict[str, float] = {}
        self._work: dict[str, int] = {}
        self._doing: dict[str, str] = {}

    def hear(self, name: str, health: Health, now_s: float) -> None:
        """Take note of what the part `name` answered at `now_s`."""
        if health.is_ready:
            self._changed_s = now_s
        progress = health.told.get("progress")
        if not isinstance(progress, dict):
            self._doing.pop(name, None)
            return
        self._doing[name] = str(health.told.get("detail", ""))
        work = progress.get("work")
        if isinstance(work, int) and work > self._work.get(name, -1):
            self._work[name], self._moved_s[name] = work, now_s

    def still_s(self, name: str, now_s: float) -> float:
        """Return for how long nothing has moved on which `name` may have to wait, seconds."""
        return now_s - max(self._changed_s, self._moved_s.get(name, self._changed_s))

    def shown(self, name: str) -> str:
        """Return the part with what it is doing, for a line of progress."""
        doing = self._doing.get(name)
        return f"{name} ({doing})" if doing else name

    def told(self, name: str, state: str, now_s: float) -> str:
        """Return why it is waited for no longer, and what to do."""
        after = f"{self.still_s(name, now_s):.0f} s"
        doing = self._doing.get(name)
        if doing is None:
            return f"{name}: not ready after {after} ({state}); see `ragrid logs {name}`, which ends:"
        return (
            f"{name}: stands still for {after} at {doing!r} ({state}); if `ragrid status` says that it goes on, run"
            f" `ragrid up` again; else see `ragrid logs {name}`, which ends:"
        )
