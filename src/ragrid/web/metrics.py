"""Counters of requests, kept so that one costs well under a microsecond on the event loop."""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

#: Upper bounds, seconds. 0.1 is the goal for memory and retrieval; the long ones are for generated answers.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

# A `_created` series beside every counter doubles what is scraped, and nobody reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Child:
    """One combination of method, route and status."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0


class RequestMetrics(Collector):
    """`ragrid_http_requests_total` and `ragrid_http_request_duration_seconds` of one application.

    For one event loop: nothing is locked. Labels come from route templates, so no caller can make new ones.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._children: dict[tuple[str, str, int], _Child] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one answered request."""
        child = self._children.get((method, route, status))
        if child is None:
            key = (method if method in _METHODS else "OTHER", route, status)
            child = self._children.setdefault(key, _Child())
        child.buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        child.sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """Yield both families, for prometheus_client."""
        names = ("part", "method", "route", "status")
        requests = CounterMetricFamily("ragrid_http_requests", "Requests answered.", labels=names)
        durations = HistogramMetricFamily(
            "ragrid_http_request_duration_seconds",
            "Time from the request's head to the end of its answer.",
            labels=names,
        )
        for (method, route, status), child in sorted(self._children.items()):
            labels = (self._part, method, route, str(status))
            requests.add_metric(labels, sum(child.buckets))
            durations.add_metric(labels, _cumulative(child.buckets), child.sum_s)
        yield requests
        yield durations


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    bounds = (*(str(bound) for bound in BUCKETS_S), "+Inf")
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
