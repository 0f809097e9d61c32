"""Prometheus's rules (pure): parts that are down or not scraped, and the thresholds of the grid."""

from collections.abc import Mapping
from typing import Any

from ragrid.monitoring import names
from ragrid.monitoring.database import DATABASE_PART, database_alerts
from ragrid.monitoring.objective import mean_latency, number, objective_groups
from ragrid.monitoring.settings import Alert, RuleSettings, Thresholds, record

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
    alerts: tuple[Alert, ...] = (
        _part_not_scraped(),
        _part_down(),
        _instance_down(),
        _part_given_up(),
        _registry_away(),
        _coverage(),
        _state_too_old(settings.thresholds),
        _revocations_too_old(settings.thresholds),
        _configuration_refused(),
        _certificate_ends(settings.thresholds),
    )
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
        "ragrid-hosts": (_cpu(limits), _memory(limits), _disk(limits)),
        "ragrid-services": (_response_time(settings), _errors(limits)),
        "ragrid-gpus": (_gpu_busy(limits), _gpu_saturated(limits)) if has_gpu else (),
    }
    return [
        {"name": name, "rules": [alert.render(settings.runbooks) for alert in alerts]}
        for name, alerts in groups.items()
        if alerts
    ]


def _part_not_scraped() -> Alert:
    return Alert(
        name="PartNotScraped",
        expression="up == 0",
        severity="page",
        hold="1m",
        summary="{{ $labels.part }} at {{ $labels.instance }} does not answer Prometheus",
        description="Its metrics could not be read for a minute: it is down, hung, or its port is not reached.",
    )


def _part_down() -> Alert:
    return Alert(
        name="PartDown",
        expression=f"max by (part) ({names.INSTANCE_UP}) == 0",
        severity="page",
        hold="30s",
        summary="No instance of {{ $labels.part }} works",
        description="The agent's checks fail on every instance, so the gateway answers 503 for it.",
    )


def _instance_down() -> Alert:
    return Alert(
        name="InstanceDown",
        expression=f"{names.INSTANCE_UP} == 0",
        severity="ticket",
        hold="1m",
        summary="Instance {{ $labels.instance }} of {{ $labels.part }} does not work",
        description="The agent's check of it has failed for a minute; it gets no requests until it passes again.",
    )


def _part_given_up() -> Alert:
    return Alert(
        name="PartGivenUp",
        expression=f"{names.PART_GIVEN_UP} == 1",
        severity="page",
        hold="10s",
        summary="{{ $labels.part }} on {{ $labels.instance }} was restarted again and again, and still fails",
        description="The agent leaves it alone now: what is wrong with it, a restart does not mend.",
    )


def _registry_away() -> Alert:
    return Alert(
        name="RegistryUnreachable",
        expression=f"{names.REGISTRY_UP} == 0",
        severity="ticket",
        hold="1m",
        summary="The agent on {{ $labels.instance }} does not reach the registry",
        description="Requests go on with the last good endpoints; instances that come or go are not noticed.",
    )


def _coverage() -> Alert:
    return Alert(
        name="ScrapeCoverageIncomplete",
        expression=f"{names.SCRAPE_COVERAGE} < 1",
        severity="ticket",
        hold="2m",
        summary="Prometheus sees {{ $value | humanizePercentage }} of the grid",
        description="Alerts about what is not scraped cannot fire; `ragrid status` names it.",
    )


def _state_too_old(limits: Thresholds) -> Alert:
    return Alert(
        name="GatewayStateTooOld",
        expression=f"{names.GATEWAY_STATE_AGE} > {number(limits.state_age_s)} or {names.GATEWAY_STATE_AGE} == -1",
        severity="ticket",
        hold="1m",
        summary="The gateway knows keys and revocations of {{ $value | humanizeDuration }} ago",
        description=(
            "The token service or the controller is away. It goes on with the last good state, and refuses"
            " administration. A value of -1 s means: nothing was confirmed since nginx started."
        ),
    )


def _revocations_too_old(limits: Thresholds) -> Alert:
    return Alert(
        name="RevocationsTooOld",
        expression=f"{names.REVOCATIONS_AGE} > {number(limits.state_age_s)}",
        severity="ticket",
        hold="1m",
        summary="{{ $labels.part }} at {{ $labels.instance }} knows revocations of {{ $value | humanizeDuration }} ago",
        description="A token that is revoked now stays good there. The token service, or the controller, is away.",
    )


def _certificate_ends(limits: Thresholds) -> Alert:
    return Alert(
        name="CertificateEnds",
        expression=f"{names.CERTIFICATE_ENDS} - time() < {number(limits.certificate_s)}",
        severity="ticket",
        hold="1m",
        summary="{{ $labels.certificate }}.crt on {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
        description="`ragrid up` renews the certificate, or takes up the one of your own that you have renewed.",
    )


def _configuration_refused() -> Alert:
    return Alert(
        name="GatewayConfigurationRefused",
        expression=f"{names.GATEWAY_RELOADED} == 0",
        severity="ticket",
        hold="1m",
        summary="The gateway refused its last new configuration and goes on with the one before",
        description=(
            "What was changed in grid.yaml, or a renewed certificate, is not in force."
            " run/gateway/reload.json below the state directory has the reason; mend it and run `ragrid up` again."
        ),
    )


def _cpu(limits: Thresholds) -> Alert:
    busy = 'sum by (instance) (rate(node_cpu_seconds_total{mode!~"idle|iowait"}[5m]))'
    return Alert(
        name="HostCpuHigh",
        expression=(
            f'{busy} / count by (instance) (node_cpu_seconds_total{{mode="idle"}}) > {number(limits.cpu_ratio)}'
        ),
        severity="ticket",
        hold="5m",
        summary="Processors of {{ $labels.instance }} are {{ $value | humanizePercentage }} busy",
        description=f"The threshold is {number(100 * limits.cpu_ratio)} %, over five minutes.",
    )


def _memory(limits: Thresholds) -> Alert:
    return Alert(
        name="HostMemoryHigh",
        expression=(f"1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes > {number(limits.memory_ratio)}"),
        severity="page",
        hold="5m",
        summary="Memory of {{ $labels.instance }} is {{ $value | humanizePercentage }} used",
        description=f"The threshold is {number(100 * limits.memory_ratio)} %; next the kernel ends a process.",
    )


def _disk(limits: Thresholds) -> Alert:
    real = '{fstype!~"tmpfs|ramfs|overlay|squashfs"}'
    return Alert(
        name="HostDiskFull",
        expression=(
            f"1 - node_filesystem_avail_bytes{real} / (node_filesystem_size_bytes{real} > 0)"
            f" > {number(limits.disk_ratio)}"
        ),
        severity="page",
        hold="5m",
        summary="{{ $labels.mountpoint }} of {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
        description="When it is full, writes are refused: no memory, document or vector is taken any more.",
    )


def _response_time(settings: RuleSettings) -> Alert:
    limit = number(settings.thresholds.response_time_s)
    mean = mean_latency("5m", by=" by (service)", without_services=settings.generating_services)
    return Alert(
        name="ResponseTimeHigh",
        expression=f"{mean} > {limit}",
        severity="ticket",
        hold="2m",
        summary="{{ $labels.service }} answers in {{ $value | humanizeDuration }} on average",
        description=f"The threshold is {limit} s, measured at the gateway over five minutes.",
    )


def _errors(limits: Thresholds) -> Alert:
    failed = f'sum by (service) (rate({names.GATEWAY_REQUESTS}{{status="5xx"}}[5m]))'
    every = f"sum by (service) (rate({names.GATEWAY_REQUESTS}[5m]))"
    return Alert(
        name="ErrorRateHigh",
        expression=f"{failed} / ({every} > 0) > {number(limits.error_ratio)}",
        severity="ticket",
        hold="2m",
        summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.service }} fail",
        description=f"The threshold is {number(100 * limits.error_ratio)} % answered with 5xx, over five minutes.",
    )


def _gpu_use() -> str:
    """Return GPU use as a ratio. Drivers have been seen to report more than 100: such a reading says nothing."""
    return "(avg by (instance) (DCGM_FI_DEV_GPU_UTIL <= 100) / 100)"


def _gpu_busy(limits: Thresholds) -> Alert:
    return Alert(
        name="GpuBusy",
        expression=f"{_gpu_use()} > {number(limits.gpu_ratio)}",
        severity="ticket",
        hold="10m",
        summary="GPUs of {{ $labels.instance }} are {{ $value | humanizePercentage }} busy",
        description="Busy alone is how a model server should look; it is a page once requests queue.",
    )


def _gpu_saturated(limits: Thresholds) -> Alert:
    return Alert(
        name="GpuSaturated",
        expression=f"{_gpu_use()} > {number(limits.gpu_ratio)} and on () sum(vllm:num_requests_waiting) > 5",
        severity="page",
        hold="5m",
        summary="GPUs of {{ $labels.instance }} are full and requests queue",
        description="More than five requests wait for a GPU that has nothing left to give.",
    )
