"""Lists that come page by page, followed to their end: once for each way of waiting."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from ragrid.client.calls import Call
from ragrid.errors import RagridError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """Some of a list; `after` asks for what comes behind them, None at the end."""

    @property
    def items(self) -> Sequence[T_co]:
        """What is on this page."""
        ...

    @property
    def after(self) -> str | None:
        """Where the next page begins."""
        ...


def follow(send: Callable[[Call[Page[T]]], Page[T]], ask: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
    """Yield a whole list; `ask` returns the call for the page after a place, `send` sends it."""
    after: str | None = None
    while True:
        call = ask(after)
        page = send(call)
        yield from page.items
        after = place_after(call, page, after)
        if after is None:
            return


async def follow_async(
    send: Callable[[Call[Page[T]]], Awaitable[Page[T]]], ask: Callable[[str | None], Call[Page[T]]]
) -> AsyncIterator[T]:
    """Yield a whole list, as `follow` does."""
    after: str | None = None
    while True:
        call = ask(after)
        page = await send(call)
        for one in page.items:
            yield one
        after = place_after(call, page, after)
        if after is None:
            return


def place_after(call: Call[Page[T]], page: Page[T], before: str | None) -> str | None:
    """Return where to go on, None at the end. Raises RagridError when that is where the page itself began."""
    if page.after is not None and page.after == before:
        service = call.path.split("/")[1]
        raise RagridError(f"{call.name}: the grid sent the same page twice; see `ragrid logs {service}`")
    return page.after
