"""What Prometheus is given: one job for each part, rules that ask only for metrics that exist."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragrid.monitoring import names, prometheus
from ragrid.monitoring.prometheus import (
    PrometheusConfig,
    ScrapeTarget,
    duration,
    node_exporter_command,
    prometheus_command,
    render_prometheus,
)
from ragrid.monitoring.settings import RuleSettings, Thresholds

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
TARGETS = (
    ScrapeTarget(part="memory", host="10.0.0.2", port=3000, instance_id="memory-2"),
    ScrapeTarget(part="memory", host="10.0.0.1", port=3000, instance_id="memory-1"),
    ScrapeTarget(part="agent", host="127.0.0.1", port=9400, speaks_for_others=True),
    ScrapeTarget(part="registry", host="::1", port=2379, scheme="https", ca_file=Path("/s/ca.pem"), server_name="etcd"),
    ScrapeTarget(part="gpu", host="127.0.0.1", port=9402),
)


def config(**changes: Any) -> PrometheusConfig:
    """A configuration with four parts, one of them twice."""
    given = {"grid": "tron", "config_file": Path("/s/etc/prometheus.yml"), "data_directory": Path("/s/data")}
    return PrometheusConfig(**{"targets": TARGETS, **given, **changes})


@cache
def rules(settings: RuleSettings | None = None, targets: tuple[ScrapeTarget, ...] = TARGETS) -> list[dict[str, Any]]:
    """Every rule of every rendered file; nobody may change them."""
    files = render_prometheus(config(targets=targets, rules=settings or RuleSettings()))
    loaded = [yaml.safe_load(content) for name, content in files.items() if name.startswith("rules/")]
    return [rule for one in loaded for group in one["groups"] for rule in group["rules"]]


def test_each_part_is_one_job_with_its_targets_in_order() -> None:
    jobs = yaml.safe_load(render_prometheus(config())["prometheus.yml"])["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["agent", "gpu", "memory", "registry"]
    memory = next(job for job in jobs if job["job_name"] == "memory")
    assert memory["static_configs"] == [
        {"targets": ["10.0.0.1:3000"], "labels": {"part": "memory", "instance": "memory-1"}},
        {"targets": ["10.0.0.2:3000"], "labels": {"part": "memory", "instance": "memory-2"}},
    ]


def test_only_the_agent_may_name_other_parts() -> None:
    jobs = yaml.safe_load(render_prometheus(config())["prometheus.yml"])["scrape_configs"]
    assert [job["job_name"] for job in jobs if job.get("honor_labels")] == ["agent"]


def test_https_targets_are_verified_against_the_given_authority() -> None:
    jobs = yaml.safe_load(render_prometheus(config())["prometheus.yml"])["scrape_configs"]
    registry = next(job for job in jobs if job["job_name"] == "registry")
    assert registry["tls_config"] == {"ca_file": "/s/ca.pem", "server_name": "etcd"}
    assert registry["static_configs"][0]["targets"] == ["[::1]:2379"]


def test_a_page_with_a_query_and_a_token_is_asked_for_as_that() -> None:
    consul = ScrapeTarget(
        part="consul",
        host="10.0.0.1",
        port=8500,
        path="/v1/agent/metrics?format=prometheus",
        token_file=Path("/s/token"),
    )
    (job,) = yaml.safe_load(render_prometheus(config(targets=(consul,)))["prometheus.yml"])["scrape_configs"]
    assert (job["metrics_path"], job["params"]) == ("/v1/agent/metrics", {"format": ["prometheus"]})
    assert job["authorization"] == {"credentials_file": "/s/token"}


def test_the_order_of_the_targets_changes_no_byte() -> None:
    assert render_prometheus(config()) == render_prometheus(config(targets=TARGETS[::-1]))


def test_with_and_without_libyaml_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    files = render_prometheus(config())
    monkeypatch.setattr(prometheus, "_DUMPER", yaml.SafeDumper)
    assert render_prometheus(config()) == files


def test_targets_of_one_part_share_one_manner() -> None:
    odd = (*TARGETS, ScrapeTarget(part="memory", host="10.0.0.3", port=3000, path="/other"))
    with pytest.raises(ValueError, match="part 'memory' differ"):
        render_prometheus(config(targets=odd))


def asked_for(expression: str) -> set[str]:
    """The metric names in an expression."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on) \([^)]*\)', " ", expression)
    words = set(re.findall(r"[a-zA-Z_:][\w:]*", bare))
    return words - {"sum", "rate", "increase", "count", "avg", "max", "vector", "or", "and", "by", "on", "time"}


def test_rules_ask_only_for_metrics_on_the_list() -> None:
    for rule in rules():
        for name in asked_for(rule["expr"]):
            base = re.sub(r"_(sum|count|bucket)$", "", name)
            assert base in names.KNOWN or name.startswith(names.ERROR_RATIO), rule


def test_every_recorded_name_that_a_rule_uses_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in asked_for(rule["expr"]) if name.startswith("ragrid:")}
    assert used <= recorded


def test_every_alert_says_what_why_and_where_to_read_on() -> None:
    headings = {
        line.removeprefix("### ").strip().lower() for line in OPERATIONS.read_text().splitlines() if "### " in line
    }
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 10
    for alert in alerts:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        page, anchor = alert["annotations"]["runbook_url"].split("#")
        assert page == "docs/operations.md"
        assert anchor in headings


def test_gpu_rules_exist_only_where_a_gpu_is_scraped() -> None:
    without = tuple(one for one in TARGETS if one.part != "gpu")
    assert not [rule for rule in rules(targets=without) if "DCGM" in rule["expr"]]
    assert [rule for rule in rules() if "DCGM" in rule["expr"]]


def test_thresholds_of_the_grid_reach_the_rules() -> None:
    limits = Thresholds(cpu_ratio=0.42, response_time_s=0.25)
    expressions = {rule.get("alert"): rule["expr"] for rule in rules(RuleSettings(thresholds=limits))}
    assert expressions["HostCpuHigh"].endswith("> 0.42")
    assert expressions["ResponseTimeHigh"].endswith("> 0.25")


def test_coverage_divides_by_what_should_be_there() -> None:
    coverage = next(rule for rule in rules() if rule.get("record") == names.SCRAPE_COVERAGE)
    assert coverage["expr"] == '(sum(up{job=~"agent|gpu|memory|registry"}) or vector(0)) / 5'


def test_commands_listen_privately_and_read_nothing_of_the_system() -> None:
    command = prometheus_command(config())
    assert "--web.listen-address=127.0.0.1:9090" in command
    assert not [word for word in command if "=/etc/" in word or "enable-lifecycle" in word]
    assert "--web.listen-address=[::1]:9100" in node_exporter_command("::1", 9100)


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "15s"), (0.5, "500ms"), (90, "1m30s"), (86_400, "1d"), (1.5, "1s500ms")]
)
def test_durations_as_prometheus_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_no_duration_is_not_a_duration() -> None:
    with pytest.raises(ValueError, match="wanted at least"):
        duration(0)
