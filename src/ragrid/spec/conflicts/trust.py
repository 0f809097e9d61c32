"""What guards the grid: tokens, their keys, and certificates."""

from collections.abc import Iterator

from ragrid.spec.conflicts.conflict import Conflict
from ragrid.spec.faults import Path, shown, written
from ragrid.spec.models import Grid
from ragrid.spec.values import Duration

_DAY_S = 86_400.0


def tokens_end_before_their_key(grid: Grid) -> Iterator[Conflict]:
    """No token outlives the time that the key which signed it stays published."""
    rotation: Path = ("auth", "key_rotation")
    lives: dict[str, Duration] = {"access_token": grid.auth.access_token, "service_token": grid.auth.service_token}
    for key, life in lives.items():
        if life.seconds > grid.auth.key_rotation.seconds:
            wanted = f"at most `{written(rotation)}`, {grid.auth.key_rotation}"
            advice = "shorten it, or rotate keys less often; else tokens die with their key"
            yield Conflict(("auth", key), shown(str(life)), wanted, advice, (rotation,))


def service_tokens_live_a_day(grid: Grid) -> Iterator[Conflict]:
    """A token that was stolen from a service is worthless a day later."""
    if grid.auth.service_token.seconds > _DAY_S:
        advice = "shorten it; services renew their tokens by themselves"
        yield Conflict(("auth", "service_token"), shown(str(grid.auth.service_token)), "at most 24h", advice)


def certificate_has_its_files(grid: Grid) -> Iterator[Conflict]:
    """A certificate of one's own is named with its key, and the grid's own authority needs neither."""
    tls, here = grid.gateway.tls, ("gateway", "tls")
    mode: Path = (*here, "mode")
    for key in ("certificate", "key"):
        if tls.mode == "files" and getattr(tls, key) is None:
            yield Conflict(
                mode, f"'files' without `{key}`", "both `certificate` and `key`", f"add `{key}: /PATH`", (here,)
            )
    for key in ("certificate", "key", "authority"):
        if tls.mode != "files" and getattr(tls, key) is not None:
            advice = f"write `mode: files`, or delete `{key}`"
            yield Conflict((*here, key), shown(str(getattr(tls, key))), "`mode: files` beside it", advice, (mode,))
