"""When to believe a registry that says a service is gone: never, for its last instances; else when it says so again.

Instances vanish from a registry when they die, and just as well when the agent that renews their leases does. The edge
looks at every instance four times a second itself, so keeping a dead one costs nothing, and dropping a live one
everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ragrid.registry.protocol import Instance, Snapshot

#: How long a service must have been answered as gone before that is believed, seconds. Longer than the agent's lease
#: (10 s), so that a registry which came back empty is filled again before anybody acts on it.
CONFIRM_S = 15.0


@dataclass(frozen=True, slots=True)
class ConfirmedView:
    """What is believed of the registry: `instances`, and since when which services are doubted (monotonic seconds).

    Invariant: a service that has instances is never left without. It goes to fewer than half of them only after answers
    without a gap of reachability have said so for `confirm_s`; additions, replacements and smaller losses hold at once.
    `kept` are the services whose last instances the registry no longer names.
    """

    instances: tuple[Instance, ...] = ()
    doubted_since_s: Mapping[str, float] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()


def observe(view: ConfirmedView, snapshot: Snapshot, *, now_s: float, confirm_s: float = CONFIRM_S) -> ConfirmedView:
    """Return the view after the registry answered `snapshot` at `now_s` (monotonic)."""
    answered, believed = _by_service(snapshot.instances), _by_service(view.instances)
    instances: list[Instance] = []
    doubts: dict[str, float] = {}
    kept: set[str] = set()
    for service in sorted(answered.keys() | believed.keys()):
        old, new = believed.get(service, ()), answered.get(service, ())
        since_s = view.doubted_since_s.get(service, now_s)
        if not new:
            instances += old
            kept.add(service)
        elif is_drastic(len(old), len(new)) and now_s - since_s < confirm_s:
            instances += old
            doubts[service] = since_s
        else:
            instances += new
    return ConfirmedView(tuple(instances), doubts, frozenset(kept))


def unreachable(view: ConfirmedView) -> ConfirmedView:
    """Return the view after the registry did not answer: what it said before counts for nothing, doubts start anew."""
    return replace(view, doubted_since_s={})


def look_again_in_s(view: ConfirmedView, *, now_s: float, confirm_s: float = CONFIRM_S) -> float | None:
    """Return after how many seconds to list again although nothing changed; None when nothing is in doubt."""
    if not view.doubted_since_s:
        return None
    return max(0.0, min(view.doubted_since_s.values()) + confirm_s - now_s)


def is_drastic(old: int, new: int) -> bool:
    """Whether going from `old` to `new` instances is too much to be believed at once: to under half."""
    return new * 2 < old


def _by_service(instances: tuple[Instance, ...]) -> dict[str, tuple[Instance, ...]]:
    found: dict[str, tuple[Instance, ...]] = {}
    for one in instances:
        found[one.service] = (*found.get(one.service, ()), one)
    return found
