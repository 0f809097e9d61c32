"""Alerts about thresholds (pure): hosts, services as seen from the gateway, and GPUs."""

from ragrid.monitoring import names
from ragrid.monitoring.objective import mean_latency, number
from ragrid.monitoring.settings import Alert, RuleSettings, Thresholds

_BUSY = 'sum by (instance) (rate(node_cpu_seconds_total{mode!~"idle|iowait"}[5m]))'
_PROCESSORS = 'count by (instance) (node_cpu_seconds_total{mode="idle"})'
#: What lies in memory, or over another file system, fills no disk.
_REAL = '{fstype!~"tmpfs|ramfs|overlay|squashfs"}'
_FAILED = f'sum by (service) (rate({names.GATEWAY_REQUESTS}{{status="5xx"}}[5m]))'
_EVERY = f"sum by (service) (rate({names.GATEWAY_REQUESTS}[5m]))"
#: A ratio. Drivers have been seen to report more than 100: such a reading says nothing.
_GPU_USE = "(avg by (instance) (DCGM_FI_DEV_GPU_UTIL <= 100) / 100)"


def host_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return what is watched of each host."""
    return (
        Alert(
            name="HostCpuHigh",
            expression=f"{_BUSY} / {_PROCESSORS} > {number(limits.cpu_ratio)}",
            severity="ticket",
            hold="5m",
            summary="Processors of {{ $labels.instance }} are {{ $value | humanizePercentage }} busy",
            description=f"The threshold is {number(100 * limits.cpu_ratio)} %, over five minutes.",
        ),
        Alert(
            name="HostMemoryHigh",
            expression=(
                f"1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes > {number(limits.memory_ratio)}"
            ),
            severity="page",
            hold="5m",
            summary="Memory of {{ $labels.instance }} is {{ $value | humanizePercentage }} used",
            description=f"The threshold is {number(100 * limits.memory_ratio)} %; next the kernel ends a process.",
        ),
        Alert(
            name="HostDiskFull",
            expression=(
                f"1 - node_filesystem_avail_bytes{_REAL} / (node_filesystem_size_bytes{_REAL} > 0)"
                f" > {number(limits.disk_ratio)}"
            ),
            severity="page",
            hold="5m",
            summary="{{ $labels.mountpoint }} of {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
            description="When it is full, writes are refused: no memory, document or vector is taken any more.",
        ),
    )


def service_alerts(settings: RuleSettings) -> tuple[Alert, ...]:
    """Return what is watched of each service, as its callers see it."""
    limits = settings.thresholds
    limit = number(limits.response_time_s)
    mean = mean_latency("5m", by=" by (service)", without_services=settings.generating_services)
    return (
        Alert(
            name="ResponseTimeHigh",
            expression=f"{mean} > {limit}",
            severity="ticket",
            hold="2m",
            summary="{{ $labels.service }} answers in {{ $value | humanizeDuration }} on average",
            description=f"The threshold is {limit} s, measured at the gateway over five minutes.",
        ),
        Alert(
            name="ErrorRateHigh",
            expression=f"{_FAILED} / ({_EVERY} > 0) > {number(limits.error_ratio)}",
            severity="ticket",
            hold="2m",
            summary="{{ $value | humanizePercentage }} of the requests to {{ $labels.service }} fail",
            description=f"The threshold is {number(100 * limits.error_ratio)} % answered with 5xx, over five minutes.",
        ),
    )


def gpu_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return what is watched of GPUs, where their metrics are exported."""
    return (
        Alert(
            name="GpuBusy",
            expression=f"{_GPU_USE} > {number(limits.gpu_ratio)}",
            severity="ticket",
            hold="10m",
            summary="GPUs of {{ $labels.instance }} are {{ $value | humanizePercentage }} busy",
            description="Busy alone is how a model server should look; it is a page once requests queue.",
        ),
        Alert(
            name="GpuSaturated",
            expression=f"{_GPU_USE} > {number(limits.gpu_ratio)} and on () sum(vllm:num_requests_waiting) > 5",
            severity="page",
            hold="5m",
            summary="GPUs of {{ $labels.instance }} are full and requests queue",
            description="More than five requests wait for a GPU that has nothing left to give.",
        ),
    )
