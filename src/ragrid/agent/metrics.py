"""What the agent counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ragrid.agent.state import CheckResult, Health, State

#: Upper bounds of a check's duration, seconds: a canary takes milliseconds, and 2 s is where most checks give up.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_LABELS = ("part", "instance")


class AgentMetrics:
    """The families of `/metrics`; `part` is the service, `instance` its instance id."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self._up = Gauge("ragrid_instance_up", "1 while the instance is healthy.", _LABELS, registry=registry)
        self._registered = Gauge(
            "ragrid_instance_registered", "1 while a lease is held for the instance.", _LABELS, registry=registry
        )
        self._elsewhere = Gauge(
            "ragrid_instance_owned_elsewhere",
            "1 while another agent holds the instance in the registry.",
            _LABELS,
            registry=registry,
        )
        self.checks = Histogram(
            "ragrid_check_seconds", "How long one check took.", _LABELS, registry=registry, buckets=BUCKETS_S
        )
        self._failures = Counter("ragrid_check_failures_total", "Checks that failed.", _LABELS, registry=registry)
        self._registry_up = Gauge("ragrid_registry_up", "1 if the last call to the registry worked.", registry=registry)
        self._registry_failures = Counter(
            "ragrid_registry_failures_total", "Calls to the registry that failed.", registry=registry
        )
        self._leases_lost = Counter(
            "ragrid_leases_lost_total", "Leases that ended before they were renewed.", _LABELS, registry=registry
        )
        self._restarts = Counter(
            "ragrid_part_restarts_total",
            "Restarts of a part that failed its check.",
            _LABELS,
            registry=registry,
        )
        self._given_up = Gauge(
            "ragrid_part_given_up",
            "1 while a part fails that was restarted as often as is allowed.",
            _LABELS,
            registry=registry,
        )
        self._supervisor_starts = Counter(
            "ragrid_supervisor_starts_total", "Times the supervisor was found dead and started.", registry=registry
        )
        self._certificate_ends = Gauge(
            "ragrid_certificate_ends_timestamp_seconds",
            "When a certificate of this host ends, seconds since 1970.",
            ["certificate"],
            registry=registry,
        )

    def expect(self, part: str, instance: str) -> None:
        """Show an instance from the start, as not up."""
        self._up.labels(part, instance).set(0)
        self._registered.labels(part, instance).set(0)
        self._elsewhere.labels(part, instance).set(0)
        self._failures.labels(part, instance)
        self._leases_lost.labels(part, instance)

    def check(self, part: str, instance: str, result: CheckResult) -> None:
        """Count one check."""
        self.checks.labels(part, instance).observe(result.took_s)
        if not result.passed:
            self._failures.labels(part, instance).inc()

    def state(self, part: str, instance: str, state: State) -> None:
        """Show where one instance stands."""
        self._up.labels(part, instance).set(state.health == Health.HEALTHY)
        self._registered.labels(part, instance).set(state.lease is not None)
        self._elsewhere.labels(part, instance).set(bool(state.owner))

    def lease_lost(self, part: str, instance: str) -> None:
        """Count one lease that ended under us."""
        self._leases_lost.labels(part, instance).inc()

    def registry_answered(self, *, ok: bool) -> None:
        """Show whether the registry works."""
        self._registry_up.set(ok)
        if not ok:
            self._registry_failures.inc()

    def expect_restarts(self, part: str, instance: str) -> None:
        """Show an instance whose part may be restarted, from the start."""
        self._restarts.labels(part, instance)
        self.gave_up(part, instance, given_up=False)

    def restarted(self, part: str, instance: str) -> None:
        """Count one restart of the part behind an instance."""
        self._restarts.labels(part, instance).inc()

    def gave_up(self, part: str, instance: str, *, given_up: bool) -> None:
        """Show whether restarting was given up."""
        self._given_up.labels(part, instance).set(given_up)

    def certificate_ends(self, certificate: str, at_s: float) -> None:
        """Show when a certificate ends."""
        self._certificate_ends.labels(certificate).set(at_s)

    def supervisor_started(self) -> None:
        """Count one start of the supervisor."""
        self._supervisor_starts.inc()
