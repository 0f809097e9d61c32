"""Prometheus's rules (pure): parts that are down or not scraped, and the thresholds of the grid."""

from collections.abc import Mapping
from typing import Any

from ragrid.monitoring import names
from ragrid.monitoring.database import DATABASE_PART, database_alerts
from ragrid.monitoring.objective import objective_groups
from ragrid.monitoring.part_alerts import part_alerts
from ragrid.monitoring.settings import RuleSettings, record
from ragrid.monitoring.threshold_alerts import gpu_alerts, host_alerts, service_alerts

#: The part whose targets are NVIDIA's dcgm-exporter.
GPU_PART = "gpu"


def rule_files(settings: RuleSettings, *, expected: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return file name to content. `expected` says how many targets each part has.

    Rules about GPUs and PostgreSQL are left out when no part exports their metrics: a rule that cannot fire is a false
    promise.
    """
    return {
        "objective.yml": {"groups": objective_groups(settings)},
        "parts.yml": {"groups": _part_groups(settings, expected)},
        "thresholds.yml": {"groups": _threshold_groups(settings, has_gpu=GPU_PART in expected)},
    }


def _part_groups(settings: RuleSettings, expected: Mapping[str, int]) -> list[dict[str, Any]]:
    alerts = part_alerts(settings.thresholds)
    if DATABASE_PART in expected:
        alerts = (*alerts, *database_alerts())
    # Divided by what should be there, so that a part which nobody scrapes lowers it as one that is down does.
    total = sum(expected.values())
    jobs = "|".join(sorted(expected))
    coverage = f'(sum(up{{job=~"{jobs}"}}) or vector(0)) / {total}' if total else "vector(0)"
    return [
        {"name": "ragrid-coverage", "rules": [record(names.SCRAPE_COVERAGE, coverage)]},
        {"name": "ragrid-parts", "rules": [alert.render(settings.runbooks) for alert in alerts]},
    ]


def _threshold_groups(settings: RuleSettings, *, has_gpu: bool) -> list[dict[str, Any]]:
    limits = settings.thresholds
    groups = {
        "ragrid-hosts": host_alerts(limits),
        "ragrid-services": service_alerts(settings),
        "ragrid-gpus": gpu_alerts(limits) if has_gpu else (),
    }
    return [
        {"name": name, "rules": [alert.render(settings.runbooks) for alert in alerts]}
        for name, alerts in groups.items()
        if alerts
    ]
