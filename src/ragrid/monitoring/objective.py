"""Rules for the objective (pure): how fast the error budget burns, over two windows at once.

The long window says that it matters, the short one that it still goes on: an alert ends soon after the fault does.
Factors and windows are those of the SRE workbook, "Alerting on SLOs", for a budget of 30 days:
https://sre.google/workbook/alerting-on-slos/
"""

from dataclasses import dataclass
from typing import Any

from ragrid.monitoring import names
from ragrid.monitoring.settings import Alert, Objective, RuleSettings, Severity, record

#: Windows that are cheap to compute at each evaluation, and those that are computed every LONG_INTERVAL.
SHORT_WINDOWS = ("5m", "30m", "1h", "2h")
LONG_WINDOWS = ("6h", "1d", "3d")
#: Under half of Prometheus's look-back of 5 minutes, so that a recorded value never goes stale between two.
LONG_INTERVAL = "2m"


@dataclass(frozen=True, slots=True)
class Burn:
    """Spending the budget `factor` times too fast over both windows."""

    long: str
    short: str
    factor: float
    severity: Severity


BURNS = (
    Burn("1h", "5m", 14.4, "page"),
    Burn("6h", "30m", 6.0, "page"),
    Burn("1d", "2h", 3.0, "ticket"),
    Burn("3d", "6h", 1.0, "ticket"),
)


def objective_groups(settings: RuleSettings) -> list[dict[str, Any]]:
    """Return the rule groups that record error ratios and watch the budget."""
    objective = settings.objective
    alerts = [*(_burn_alert(burn, objective) for burn in BURNS), _latency_alert(settings)]
    return [
        {"name": "ragrid-error-ratios", "rules": [_error_ratio(window) for window in SHORT_WINDOWS]},
        {
            "name": "ragrid-error-ratios-long",
            "interval": LONG_INTERVAL,
            "rules": [_error_ratio(window) for window in LONG_WINDOWS],
        },
        {"name": "ragrid-objective", "rules": [alert.render(settings.runbooks) for alert in alerts]},
    ]


def mean_latency(window: str, *, by: str, without_services: tuple[str, ...]) -> str:
    """Return the expression for the mean response time at the gateway; no series without traffic."""
    chosen = f'{{service!~"{"|".join(sorted(without_services))}"}}' if without_services else ""
    total = f"rate({names.GATEWAY_DURATION}_sum{chosen}[{window}])"
    count = f"rate({names.GATEWAY_DURATION}_count{chosen}[{window}])"
    return f"sum{by} ({total}) / (sum{by} ({count}) > 0)"


def number(value: float) -> str:
    """Return `value` in the shortest form that means the same; no noise from binary fractions."""
    return f"{value:.10g}"


def _error_ratio(window: str) -> dict[str, Any]:
    """Record the share of requests that ended in 5xx: 0 without failures, no series without traffic."""
    failed = f'sum(rate({names.GATEWAY_REQUESTS}{{status="5xx"}}[{window}]))'
    return record(
        f"{names.ERROR_RATIO}{window}",
        f"({failed} or vector(0)) / (sum(rate({names.GATEWAY_REQUESTS}[{window}])) > 0)",
    )


def _burn_alert(burn: Burn, objective: Objective) -> Alert:
    """Return the alert for one pair of windows."""
    limit = number(burn.factor * (1 - objective.availability_ratio))
    enough = f"sum(increase({names.GATEWAY_REQUESTS}[{burn.long}])) >= {objective.minimum_requests}"
    return Alert(
        name=f"ErrorBudgetBurn{burn.long}",
        expression=(
            f"{names.ERROR_RATIO}{burn.long} > {limit} and {names.ERROR_RATIO}{burn.short} > {limit} and {enough}"
        ),
        severity=burn.severity,
        hold="0s",
        summary=f"The error budget burns {number(burn.factor)} times too fast over {burn.long}",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the requests of the last {burn.long} failed; the objective is"
            f" {number(100 * objective.availability_ratio)} % answered without 5xx."
        ),
    )


def _latency_alert(settings: RuleSettings) -> Alert:
    """Return the alert for the promised mean response time, over an hour that still goes on."""
    limit = number(settings.objective.latency_mean_s)
    hour, now = (mean_latency(window, by="", without_services=settings.generating_services) for window in ("1h", "5m"))
    return Alert(
        name="LatencyObjectiveMissed",
        expression=f"({hour}) > {limit} and ({now}) > {limit}",
        severity="ticket",
        hold="5m",
        summary=f"Mean response time over the last hour is above {limit} s",
        description="It was {{ $value | humanizeDuration }} at the gateway, services that generate text left out.",
    )
