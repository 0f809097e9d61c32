"""`ragrid bench llm` asks both addresses the same, as often, and takes only a stream for an answer."""

import threading
from collections.abc import Callable, Iterator

import pytest

from ragrid.errors import RagridError, UnreachableError
from ragrid.verify.bench_llm import WARM_UP_PAIRS, ModelTarget, bench_llm
from support.http_server import GridServer

STREAM = (b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n")


@pytest.fixture
def models() -> Iterator[tuple[GridServer, GridServer]]:
    """Two servers that answer with a stream."""
    both = (GridServer(), GridServer())
    for one in both:
        one.answer(*STREAM, content_type="text/event-stream")
        threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield both
    for one in both:
        one.server.shutdown()
        one.server.server_close()


def test_both_are_asked_the_same_as_often(models: tuple[GridServer, GridServer]) -> None:
    direct, gateway = models
    found = bench_llm(ModelTarget(direct.address), ModelTarget(gateway.address, "t-o-k-e-n"), model="m", pairs=4)
    assert set(found) == {"pairs", "first_byte_direct_ms", "first_byte_gateway_ms", "added_first_byte_ms"}
    assert (found["pairs"], found["first_byte_direct_ms"] > 0, found["first_byte_gateway_ms"] > 0) == (4, True, True)
    assert len(direct.seen) == len(gateway.seen) == 4 + WARM_UP_PAIRS
    assert {one.body for one in direct.seen} == {one.body for one in gateway.seen}
    assert {one.headers.get("authorization") for one in direct.seen} == {None}
    assert {one.headers.get("authorization") for one in gateway.seen} == {"Bearer t-o-k-e-n"}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda one: one.answer(b'{"error":"no such model"}', status=404),
        lambda one: one.answer(b'{"choices":[]}'),
    ],
)
def test_anything_but_a_stream_is_no_result(
    models: tuple[GridServer, GridServer], break_it: Callable[[GridServer], None]
) -> None:
    direct, gateway = models
    break_it(gateway)
    with pytest.raises(RagridError, match="wanted a stream"):
        bench_llm(ModelTarget(direct.address), ModelTarget(gateway.address), model="m", pairs=1)


def test_an_address_that_nobody_answers_is_named(
    models: tuple[GridServer, GridServer], ports: Callable[[int], list[int]]
) -> None:
    nobody = f"http://127.0.0.1:{ports(1)[0]}"
    with pytest.raises(UnreachableError, match=nobody):
        bench_llm(ModelTarget(models[0].address), ModelTarget(nobody), model="m", pairs=1)
