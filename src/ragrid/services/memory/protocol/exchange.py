"""A store taken out line by line, and put into another."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

from ragrid.services.memory.exchange.deciding import Verdict
from ragrid.services.memory.exchange.lines import Copy


class Exported(msgspec.Struct, frozen=True):
    """Some whole lines of an export."""

    lines: int
    text: bytes


class Exchange(Protocol):
    """Export and import, by lines as exchange/lines.py has them."""

    def export(self, tenant: str, namespace: str | None, *, now_us: int) -> AsyncGenerator[Exported, None]:
        """Yield all that the tenant (in one namespace, or in all) has at one moment, whatever is written meanwhile.

        Namespaces come by name; in each, memories in the order in which they were made with all their versions, then
        sessions by id with their messages and their state. What has expired or was purged is left out, with its
        history. Raises StoreBusyError when too many exports are under way. Whoever does not go on to the end must
        close the generator.
        """
        ...

    async def take(self, copies: Sequence[Copy], *, now_us: int, is_atomic: bool) -> tuple[Verdict, ...]:
        """Take over `copies` in order, in one commit, and return what became of each once that is durable.

        One with faults does not keep the others out, unless `is_atomic`: then nothing is written when any has faults.
        Quotas are not asked. Raises StoreBusyError or StoreFullError; then nothing was written.
        """
        ...
