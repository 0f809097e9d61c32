"""Prometheus itself reads every expression of every dashboard."""

import subprocess
from pathlib import Path

import yaml

from ragrid.monitoring.grafana import expressions
from ragrid.monitoring.memory_dashboard import memory_dashboard


def test_every_expression_is_one(promtool: str, tmp_path: Path) -> None:
    asked = [
        one.replace("$__rate_interval", "5m").replace("$instance", ".*") for one in expressions(memory_dashboard())
    ]
    rules = [{"record": f"checked:{number}", "expr": one} for number, one in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run((promtool, "check", "rules", str(file)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout
