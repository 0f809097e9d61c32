"""An instance as Consul keeps it: what other tools see, and what we read back."""

import dataclasses
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragrid.registry import consul_entry as entry
from ragrid.registry.codec import ForeignValues
from ragrid.registry.protocol import Instance, Lease

ONE = Instance("memory", "memory-sark", "127.0.0.1", 3000, version="0.1.0", meta={"zone": "ä"})
TEXT = st.text(max_size=300)
INSTANCES = st.builds(
    Instance,
    service=st.just("memory"),
    instance_id=st.just("memory-sark"),
    host=st.text(min_size=1, max_size=255),
    port=st.integers(1, 65535),
    version=TEXT,
    weight=st.integers(0, 1_000_000),
    draining=st.booleans(),
    meta=st.dictionaries(TEXT, TEXT, max_size=3),
)


def check_of(instance: Instance, namespace: str = "tron", **changes: Any) -> dict[str, Any]:
    """The check as Consul's catalog shows it for a registration."""
    body = entry.registration(namespace, Lease("abc", instance, 10.0))
    own = {name: body["Check"][name] for name in ("Name", "Notes", "Status")}
    place = {"Node": "sark", "ServiceID": body["ID"], "ServiceName": body["Name"], "ServiceTags": body["Tags"]}
    return {**own, **place, "ModifyIndex": 7, **changes}


def node_check(status: str) -> dict[str, Any]:
    place = {"Node": "sark", "ServiceID": "", "ServiceName": "", "ServiceTags": []}
    return {"Name": "Serf Health Status", "Notes": "", "Status": status, "ModifyIndex": 7, **place}


def live(*checks: dict[str, Any]) -> tuple[Instance, ...]:
    return entry.live_instances(checks, "tron", ForeignValues())


@given(INSTANCES)
def test_instance_survives_being_a_consul_service(instance: Instance) -> None:
    assert live(check_of(instance)) == (instance,)
    body = entry.registration("tron", Lease("abc", instance, 10.0))
    assert all(len(value.encode()) <= 512 for value in body["Meta"].values())
    assert 1 <= body["Weights"]["Passing"] <= 65535


def test_other_tools_see_a_service_of_its_own_name() -> None:
    draining = dataclasses.replace(ONE, draining=True, weight=3)
    body = entry.registration("tron", Lease("abc", draining, 2.5))
    assert (body["Name"], body["Tags"]) == ("memory", ["ragrid", "ragrid-tron", "draining"])
    assert (body["Address"], body["Port"], body["Weights"]["Passing"]) == ("127.0.0.1", 3000, 3)
    assert body["Meta"] == {"ragrid_grid": "tron", "ragrid_instance": "memory-sark", "ragrid_version": "0.1.0"}
    assert body["Check"]["TTL"] == "2500ms"


def test_what_is_critical_is_out_whoever_says_so() -> None:
    """Maintenance mode and a dead host are checks of others; their word counts as it does for Consul's DNS."""
    maintenance = check_of(ONE, Name="Service Maintenance Mode", Notes="", Status="critical")
    assert live(check_of(ONE), node_check("passing")) == (ONE,)
    assert live(check_of(ONE), node_check("warning")) == (ONE,)
    assert live(check_of(ONE), node_check("critical")) == ()
    assert live(check_of(ONE), maintenance) == ()
    assert live(check_of(ONE, Status="critical")) == ()
    elsewhere = dataclasses.replace(ONE, instance_id="memory-clu")
    assert live(check_of(ONE, Node="clu"), check_of(elsewhere), node_check("critical")) == (ONE,)


def test_entry_of_another_grid_under_our_tag_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    foreign = ForeignValues()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert entry.live_instances([check_of(ONE, namespace="clu")], "tron", foreign) == ()
    assert len(caplog.records) == 1


def test_lease_is_held_only_by_its_own_passing_check() -> None:
    lease = Lease("abc", ONE, 10.0)
    assert entry.holds([check_of(ONE)], lease)
    assert not entry.holds([check_of(ONE)], Lease("other", ONE, 10.0))
    assert not entry.holds([check_of(ONE, Status="critical")], lease)
    assert not entry.holds([check_of(ONE, Notes="by hand")], lease)
    assert not entry.holds([], lease)
