"""What the rules are rendered from: thresholds, the objective, and how one alert is written down. Ratios are 0 to 1."""

from dataclasses import dataclass, field
from typing import Any, Literal

#: The page of the manual that says what to do, one heading for each alert.
RUNBOOKS = "docs/operations.md"

Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When the grid hurts. Response time is the mean of one service over five minutes."""

    cpu_ratio: float = 0.80
    memory_ratio: float = 0.85
    gpu_ratio: float = 0.95
    disk_ratio: float = 0.90
    response_time_s: float = 0.100
    error_ratio: float = 0.01
    #: How old the gateway's knowledge of its backends may be.
    state_age_s: float = 60.0
    #: `ragrid up` renews in the last 30 days; who has not run it by then is reminded.
    certificate_s: float = 20 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is promised to users over 30 days.

    Below `minimum_requests` in the long window of a burn-rate alert it stays silent: one failure among twenty requests
    is no trend, and a part that is down has an alert of its own.
    """

    availability_ratio: float = 0.999
    latency_mean_s: float = 0.100
    minimum_requests: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """What the rules of one grid are rendered from.

    `generating_services` answer for as long as a model writes: a mean response time says nothing about them.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    objective: Objective = field(default_factory=Objective)
    generating_services: tuple[str, ...] = ("vllm",)
    runbooks: str = RUNBOOKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. A `page` wants somebody now, a `ticket` within the week; `hold` is how long it must stay true."""

    name: str
    expression: str
    severity: Severity
    hold: str
    summary: str
    description: str

    def render(self, runbooks: str) -> dict[str, Any]:
        """Return the rule as Prometheus reads it; the runbook link is the heading with the alert's name."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}#{self.name.lower()}",
            },
        }


def record(name: str, expression: str) -> dict[str, Any]:
    """Return a recording rule."""
    return {"record": name, "expr": expression}
