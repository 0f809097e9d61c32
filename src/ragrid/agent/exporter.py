"""The metrics page of a part that has none of its own, from what the agent knows of it."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ragrid.agent.processes import Usage

_LABELS = ("part", "instance")


class PartPage(Collector):
    """One part: is it up, how long its canaries took, and what the process of each instance uses."""

    def __init__(
        self, part: str, *, healthy: Sequence[bool], usages: Mapping[str, Usage], checks: Sequence[Metric]
    ) -> None:
        self._part = part
        self._healthy = healthy
        self._usages = usages
        self._checks = checks

    def collect(self) -> Iterator[Metric]:
        """Yield every family, for prometheus_client."""
        up = GaugeMetricFamily("ragrid_part_up", "1 while any instance of the part is healthy.", labels=["part"])
        up.add_metric([self._part], float(any(self._healthy)))
        yield up
        yield self._canaries()
        yield from self._process_families()

    def render(self) -> bytes:
        """Return the page in Prometheus's text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def _canaries(self) -> Metric:
        """Return the agent's own histogram of checks, cut to this part, under the canary's name."""
        canaries = Metric("ragrid_canary_seconds", "How long the agent's canary took.", "histogram")
        for sample in (one for family in self._checks for one in family.samples):
            if sample.labels.get("part") == self._part and not sample.name.endswith("_created"):
                name = sample.name.replace("ragrid_check_seconds", "ragrid_canary_seconds")
                canaries.add_sample(name, sample.labels, sample.value)
        return canaries

    def _process_families(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("ragrid_part_resident_memory_bytes", "Resident memory.", labels=_LABELS)
        files = GaugeMetricFamily("ragrid_part_open_fds", "Open file descriptors.", labels=_LABELS)
        start = GaugeMetricFamily("ragrid_part_start_time_seconds", "Start, since the epoch.", labels=_LABELS)
        cpu = CounterMetricFamily("ragrid_part_cpu_seconds", "User and system time.", labels=_LABELS)
        for instance, usage in sorted(self._usages.items()):
            labels = [self._part, instance]
            memory.add_metric(labels, usage.resident_bytes)
            files.add_metric(labels, usage.open_files)
            start.add_metric(labels, usage.started_s)
            cpu.add_metric(labels, usage.cpu_s)
        yield from (memory, files, start, cpu)
