"""Coverage, from what Prometheus says."""

import json

import pytest

from ragrid.errors import RagridError
from ragrid.monitoring.coverage import coverage


def answer(*targets: tuple[str, str]) -> bytes:
    """Prometheus's list of targets, part and health."""
    active = [{"labels": {"job": part, "part": part}, "health": health, "lastError": ""} for part, health in targets]
    return json.dumps({"status": "success", "data": {"activeTargets": active, "droppedTargets": []}}).encode()


def test_every_part_answers() -> None:
    seen = coverage(["rag", "memory"], answer(("memory", "up"), ("rag", "up"), ("stranger", "down")))
    assert (seen.ratio, seen.missing, seen.down) == (1.0, (), ())


def test_missing_and_down_are_told_apart() -> None:
    seen = coverage(["a", "b", "c", "d"], answer(("a", "up"), ("b", "down"), ("c", "unknown")))
    assert (seen.ratio, seen.missing, seen.down) == (0.25, ("d",), ("b", "c"))


def test_one_instance_of_two_is_not_enough() -> None:
    assert coverage(["a"], answer(("a", "up"), ("a", "down"))).down == ("a",)


def test_nothing_expected_is_covered() -> None:
    assert coverage([], answer()).ratio == 1.0


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"status":"error"}', b'{"data":{"activeTargets":[{}]}}'])
def test_another_answer_is_an_error_and_no_coverage(content: bytes) -> None:
    with pytest.raises(RagridError, match="is it Prometheus"):
        coverage(["a"], content)
