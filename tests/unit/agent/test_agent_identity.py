"""Who holds an instance, and who this agent is."""

from pathlib import Path

import pytest

from ragrid.agent.identity import held_identity, other_owner
from ragrid.agent.state import OBSERVE_EVERY_S, Action, Health, Rules, State, next_action, owned_elsewhere, wait_s
from ragrid.errors import ConflictError
from ragrid.registry.protocol import Instance


def instance(owner: str | None, instance_id: str = "memory-sark") -> Instance:
    return Instance("memory", instance_id, "127.0.0.1", 3000, meta={} if owner is None else {"agent": owner})


@pytest.mark.parametrize(
    ("listed", "owner"),
    [
        ((), ""),
        ((instance("sark/1"),), ""),
        ((instance("clu/2"),), "clu/2"),
        ((instance(None),), ""),
        ((instance("clu/2", "memory-clu"),), ""),
    ],
)
def test_only_another_agents_registration_of_the_same_instance_counts(listed: tuple[Instance, ...], owner: str) -> None:
    assert other_owner(instance("sark/1"), listed) == owner


def test_identity_survives_a_restart_and_is_held_once(tmp_path: Path) -> None:
    status = tmp_path / "run" / "agent-status.json"
    with held_identity(status, "sark") as first, pytest.raises(ConflictError, match="another agent"):
        held_identity(status, "sark").__enter__()
    with held_identity(status, "sark") as again:
        assert again == first
    with held_identity(tmp_path / "other.json", "sark") as other:
        assert other != first
    assert (tmp_path / "run" / "agent-status.id").stat().st_mode & 0o777 == 0o600


def test_what_another_holds_is_looked_for_again_and_not_registered() -> None:
    state = owned_elsewhere(State(health=Health.HEALTHY), "clu/2", now_s=100.0)
    assert next_action(state, Rules(), now_s=100.0 + OBSERVE_EVERY_S / 2) == Action.NONE
    assert wait_s(state, Rules(), now_s=100.0) == OBSERVE_EVERY_S
    assert next_action(state, Rules(), now_s=100.0 + OBSERVE_EVERY_S) == Action.REGISTER
