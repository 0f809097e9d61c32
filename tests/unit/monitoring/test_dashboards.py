"""Dashboards: every panel asks for metrics that somebody exports, has a place of its own, and says what it shows."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from ragrid.monitoring import names
from ragrid.monitoring.grafana import expressions, render_dashboard, render_provisioning
from ragrid.monitoring.memory_dashboard import memory_dashboard

_METRIC = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{")


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(render_dashboard(memory_dashboard()))


def test_every_metric_exists() -> None:
    asked = {name for one in expressions(memory_dashboard()) for name in _METRIC.findall(one)}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} - names.KNOWN == set()


def test_everything_that_memory_exports_is_shown() -> None:
    text = "\n".join(expressions(memory_dashboard()))
    assert [name for name in (*names.MEMORY, *names.SERVICES, *names.PROCESS) if name not in text] == []


def test_no_panel_lies_on_another(document: Any) -> None:
    places = [one["gridPos"] for one in document["panels"]]
    for one, other in combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)
    assert max(one["x"] + one["w"] for one in places) <= 24


def test_every_panel_is_known_by_a_number_and_told_to_its_reader(document: Any) -> None:
    panels = document["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    graphs = [one for one in panels if one["type"] == "timeseries"]
    assert len(graphs) > 12
    for one in graphs:
        assert one["description"].endswith("."), one["title"]
        assert len({target["refId"] for target in one["targets"]}) == len(one["targets"]) > 0


def test_the_same_bytes_each_time() -> None:
    assert render_dashboard(memory_dashboard()) == render_dashboard(memory_dashboard())


def test_provisioning_names_the_data_source_and_the_folder() -> None:
    files = render_provisioning(prometheus_url="http://127.0.0.1:9090", dashboards="/srv/dashboards")
    assert b"url: http://127.0.0.1:9090" in files["datasources/prometheus.yml"]
    assert b"path: /srv/dashboards" in files["dashboards/ragrid.yml"]
