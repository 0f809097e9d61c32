"""The rules, judged by Prometheus itself: each fires on its fault, stays silent just below, and has no dead part."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ragrid.system.process import Finished, run

#: Requests per minute are 600: ten a second.
OK, FAILED = (
    'gateway_requests_total{service="rag",status="2xx"}',
    ('gateway_requests_total{service="rag",status="5xx"}'),
)


CERTIFICATE = 'ragrid_certificate_ends_timestamp_seconds{certificate="gateway",instance="i"}'


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, and the alerts that must be firing at `at` (all others must not)."""

    name: str
    series: dict[str, str]
    at: str
    firing: frozenset[str]
    interval: str = "1m"


def steady(per_step: float) -> str:
    """A counter that grows evenly, long enough for every case."""
    return f"0+{per_step:g}x2000"


def level(value: float, steps: int = 60) -> str:
    """A gauge that stays where it is."""
    return f"{value:g}+0x{steps}"


def cpu(idle_ratio: float) -> dict[str, str]:
    """One processor of one host."""
    return {
        'node_cpu_seconds_total{instance="a",cpu="0",mode="idle"}': steady(60 * idle_ratio),
        'node_cpu_seconds_total{instance="a",cpu="0",mode="user"}': steady(60 * (1 - idle_ratio)),
    }


def traffic(failed_ratio: float, per_minute: float = 600.0) -> dict[str, str]:
    """Requests through the gateway, some of them failing."""
    return {OK: steady(per_minute * (1 - failed_ratio)), FAILED: steady(per_minute * failed_ratio)}


def latency(service: str, mean_s: float) -> dict[str, str]:
    """The sum and count of a response time histogram."""
    name = "gateway_request_duration_seconds"
    return {
        f'{name}_sum{{service="{service}"}}': steady(600 * mean_s),
        f'{name}_count{{service="{service}"}}': steady(600),
    }


def gauge(name: str, value: float) -> dict[str, str]:
    """One gauge."""
    return {name: level(value)}


def instance(name: str) -> str:
    """The series of one instance."""
    return f'ragrid_instance_up{{part="memory",instance="{name}"}}'


def connections(memory: int, tokens: int) -> dict[str, str]:
    """Connections to two databases of one server that allows 200."""
    return {
        'postgresql_connections{instance="i",database="memory"}': level(memory),
        'postgresql_connections{instance="i",database="tokens"}': level(tokens),
        'postgresql_max_connections{instance="i"}': level(200),
    }


def everything_up(**changed: int) -> dict[str, str]:
    """`up` of the five rendered parts."""
    jobs = {"agent": 1, "gateway": 1, "gpu": 1, "node": 1, "postgresql": 1, **changed}
    return {f'up{{job="{job}",part="{job}",instance="i"}}': level(value) for job, value in jobs.items()}


def case(name: str, series: dict[str, str], *firing: str) -> Case:
    """A case of twenty minutes whose parts are all scraped unless `series` says otherwise."""
    return Case(name, {**everything_up(), **series}, "20m", frozenset(firing))


CASES = (
    case("all well", {**traffic(0), **cpu(0.5), **latency("rag", 0.05)}),
    case("a part is not scraped", everything_up(node=0), "PartNotScraped", "ScrapeCoverageIncomplete"),
    Case(
        "a job is missing", {'up{job="agent",part="agent"}': level(1)}, "20m", frozenset({"ScrapeCoverageIncomplete"})
    ),
    case(
        "every instance of a part is down",
        {instance("m1"): level(0), instance("m2"): level(0)},
        "PartDown",
        "InstanceDown",
    ),
    case("one instance of two is down", {instance("m1"): level(0), instance("m2"): level(1)}, "InstanceDown"),
    case("a part is restarted", gauge('ragrid_part_given_up{part="memory",instance="m1"}', 0)),
    case("a part is given up", gauge('ragrid_part_given_up{part="memory",instance="m1"}', 1), "PartGivenUp"),
    case("no registry", gauge("ragrid_registry_up", 0), "RegistryUnreachable"),
    case("configuration taken", gauge("gateway_config_last_reload_successful", 1)),
    case("configuration refused", gauge("gateway_config_last_reload_successful", 0), "GatewayConfigurationRefused"),
    case("a certificate of twenty days", gauge(CERTIFICATE, 1.73e6)),
    case("a certificate that ends", gauge(CERTIFICATE, 1.729e6), "CertificateEnds"),
    case("a certificate that is over", gauge(CERTIFICATE, 0), "CertificateEnds"),
    case("state just fresh", gauge("gateway_state_age_seconds", 60)),
    case("no state since the start", gauge("gateway_state_age_seconds", -1), "GatewayStateTooOld"),
    case("state too old", gauge("gateway_state_age_seconds", 61), "GatewayStateTooOld"),
    case("revocations just fresh", gauge('ragrid_revocations_age_seconds{part="memory",instance="m1"}', 60)),
    case(
        "revocations too old",
        {**gauge('ragrid_revocations_age_seconds{part="memory",instance="m1"}', 61)},
        "RevocationsTooOld",
    ),
    case("a database that answers", {**gauge('postgresql_up{instance="i"}', 1), **connections(79, 80)}),
    case("a database that does not answer", gauge('postgresql_up{instance="i"}', 0), "DatabaseDown"),
    case("connections above", connections(81, 80), "DatabaseConnectionsHigh"),
    case("a young transaction", gauge('postgresql_oldest_transaction_seconds{instance="i"}', 600)),
    case("an old one", gauge('postgresql_oldest_transaction_seconds{instance="i"}', 601), "DatabaseTransactionOld"),
    case("processors below", cpu(0.21)),
    case("processors above", cpu(0.19), "HostCpuHigh"),
    case(
        "memory above",
        {
            **gauge('node_memory_MemAvailable_bytes{instance="a"}', 14),
            **gauge('node_memory_MemTotal_bytes{instance="a"}', 100),
        },
        "HostMemoryHigh",
    ),
    case(
        "memory below",
        {
            **gauge('node_memory_MemAvailable_bytes{instance="a"}', 16),
            **gauge('node_memory_MemTotal_bytes{instance="a"}', 100),
        },
    ),
    case(
        "a disk is full, a tmpfs does not count",
        {
            **gauge('node_filesystem_avail_bytes{instance="a",mountpoint="/",fstype="ext4"}', 9),
            **gauge('node_filesystem_size_bytes{instance="a",mountpoint="/",fstype="ext4"}', 100),
            **gauge('node_filesystem_avail_bytes{instance="a",mountpoint="/run",fstype="tmpfs"}', 0),
            **gauge('node_filesystem_size_bytes{instance="a",mountpoint="/run",fstype="tmpfs"}', 100),
        },
        "HostDiskFull",
    ),
    case(
        "a disk below",
        {
            **gauge('node_filesystem_avail_bytes{instance="a",mountpoint="/",fstype="ext4"}', 11),
            **gauge('node_filesystem_size_bytes{instance="a",mountpoint="/",fstype="ext4"}', 100),
        },
    ),
    case("slow", latency("rag", 0.11), "ResponseTimeHigh", "LatencyObjectiveMissed"),
    case("just fast enough", latency("rag", 0.09)),
    case("a model that writes for long is no fault", latency("vllm", 9.0)),
    case("slow, and no request any more", gauge('gateway_request_duration_seconds_sum{service="rag"}', 500)),
    # 1.3 % is above the threshold of 1 %, below 14.4 times the budget of 0.1 %, and above 6, 3 and 1 times.
    case("some errors", traffic(0.013), "ErrorRateHigh", *(f"ErrorBudgetBurn{one}" for one in ("6h", "1d", "3d"))),
    case("many errors", traffic(0.02), "ErrorRateHigh", *(f"ErrorBudgetBurn{one}" for one in ("1h", "6h", "1d", "3d"))),
    case("errors below every limit", traffic(0.0009)),
    case("few requests, one in ten fails", traffic(0.1, per_minute=4), "ErrorRateHigh"),
    case("a busy gpu", gauge('DCGM_FI_DEV_GPU_UTIL{instance="a"}', 97), "GpuBusy"),
    case("a broken gpu reading", gauge('DCGM_FI_DEV_GPU_UTIL{instance="a"}', 4_000_000)),
    case(
        "a full gpu with a queue",
        {**gauge('DCGM_FI_DEV_GPU_UTIL{instance="a"}', 97), **gauge('vllm:num_requests_waiting{part="vllm"}', 6)},
        "GpuBusy",
        "GpuSaturated",
    ),
    # An hour of failures ended half an hour ago: long windows remember, short ones have forgotten.
    Case(
        "errors that ended",
        {**everything_up(), OK: "0+3000x26", FAILED: "0+300x12 3600+0x14"},
        "130m",
        frozenset({"ErrorBudgetBurn1d", "ErrorBudgetBurn3d"}),
        "5m",
    ),
)


def firing_test(one: Case) -> dict[str, object]:
    """Expect exactly the alerts of the case among those that fire."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(one.firing)]
    return {
        "name": one.name,
        "interval": one.interval,
        "input_series": [{"series": name, "values": values} for name, values in one.series.items()],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": one.at,
                "exp_samples": samples,
            }
        ],
    }


def judge(promtool: str, rendered: Path, cases: tuple[Case, ...]) -> Finished:
    """Run promtool over `cases` against the rendered rules."""
    tests = {
        "rule_files": sorted(f"rules/{path.name}" for path in (rendered.parent / "rules").iterdir()),
        "evaluation_interval": "1m",
        "tests": [firing_test(one) for one in cases],
    }
    path = rendered.parent / "tests.yml"
    path.write_text(yaml.safe_dump(tests, sort_keys=False))
    return run((promtool, "test", "rules", str(path)), timeout_s=60, check=False)


def test_prometheus_accepts_the_files(promtool: str, rendered: Path) -> None:
    done = run((promtool, "check", "config", str(rendered)), timeout_s=20)
    assert "3 rule files found" in done.stdout
    run((promtool, "check", "rules", *map(str, sorted((rendered.parent / "rules").iterdir()))), timeout_s=20)


def test_each_alert_fires_on_its_fault_and_on_no_other(promtool: str, rendered: Path) -> None:
    done = judge(promtool, rendered, CASES)
    assert done.exit_code == 0, done.stdout + done.stderr


def test_every_alert_has_a_case(rendered: Path) -> None:
    files = [yaml.safe_load(path.read_text()) for path in (rendered.parent / "rules").iterdir()]
    alerts = {rule["alert"] for one in files for group in one["groups"] for rule in group["rules"] if "alert" in rule}
    assert alerts == frozenset().union(*(one.firing for one in CASES))


@pytest.mark.parametrize(
    ("file", "right", "wrong", "noticed_by"),
    [
        ("thresholds.yml", "> 0.8\n", "> 0.82\n", "processors above"),
        ("thresholds.yml", "> 0.1\n", "> 0.12\n", "slow"),
        ("thresholds.yml", "> 0.01\n", "> 0.03\n", "some errors"),
        ("objective.yml", "> 0.0144", "> 0.0244", "many errors"),
        ("objective.yml", 'status="5xx"', 'status="4xx"', "many errors"),
        ("parts.yml", "> 60 or", "> 59 or", "state just fresh"),
        ("parts.yml", "/ 5\n", "/ 1\n", "a part is not scraped"),
    ],
)
def test_a_wrong_rule_is_noticed(
    promtool: str,
    rendered: Path,
    file: str,
    right: str,
    wrong: str,
    noticed_by: str,
) -> None:
    noticing = tuple(one for one in CASES if one.name == noticed_by)
    assert judge(promtool, rendered, noticing).exit_code == 0
    path = rendered.parent / "rules" / file
    before = path.read_text()
    assert right in before
    path.write_text(before.replace(right, wrong))
    assert judge(promtool, rendered, noticing).exit_code != 0
