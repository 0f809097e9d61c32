"""The machine's readings that have an answer known beforehand."""

from pathlib import Path

from ragrid.system.machine import memory, nearest_existing


def test_memory_is_cut_to_the_control_group_limit(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    seen = memory((tmp_path / "absent", limit))
    assert seen.total_bytes == 1_048_576
    assert seen.available_bytes <= 1_048_576


def test_no_limit_means_the_machine_s_own_memory(tmp_path: Path) -> None:
    unlimited = tmp_path / "memory.max"
    unlimited.write_text("max\n")
    assert memory((unlimited,)).total_bytes == memory(()).total_bytes > 1_048_576


def test_a_directory_to_be_made_is_judged_by_its_closest_ancestor(tmp_path: Path) -> None:
    assert nearest_existing(tmp_path / "not" / "yet") == tmp_path
