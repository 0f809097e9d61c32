"""What `ragrid up` takes for moving, and what for standing still."""

from ragrid.apply.waiting import Watch
from ragrid.drivers.local.health import Health


def migrating(work: int, percent: int = 40) -> Health:
    detail = f"migrating the store: step 5 of 6, {percent} %"
    return Health(False, detail, {"detail": detail, "progress": {"step": 5, "of": 6, "percent": percent, "work": work}})


def test_a_part_moves_while_its_work_grows() -> None:
    watch = Watch(0.0)
    for second in range(1, 200):
        watch.hear("memory", migrating(second), float(second))
    assert watch.still_s("memory", 200.0) == 1.0
    assert watch.still_s("rag", 200.0) == 200.0
    assert watch.shown("memory") == "memory (migrating the store: step 5 of 6, 40 %)"
    assert watch.shown("rag") == "rag"


def test_what_begins_again_and_comes_no_further_stands_still() -> None:
    watch = Watch(0.0)
    watch.hear("memory", migrating(500), 10.0)
    for second in range(20, 80):
        watch.hear("memory", Health(False, "refused"), second - 0.5)
        watch.hear("memory", migrating(second), float(second))
    assert watch.still_s("memory", 80.0) == 70.0
    told = watch.told("memory", "running", 80.0)
    assert "stands still for 70 s at 'migrating the store: step 5 of 6, 40 %' (running)" in told
    assert "`ragrid up` again" in told
    assert "`ragrid logs memory`" in told


def test_others_that_become_ready_give_all_more_time() -> None:
    watch = Watch(0.0)
    watch.hear("etcd", Health(True), 30.0)
    assert watch.still_s("memory", 50.0) == 20.0
    assert watch.told("memory", "running", 50.0).startswith("memory: not ready after 20 s (running); see `ragrid logs")


def test_another_answer_than_progress_is_not_taken_for_it() -> None:
    watch = Watch(0.0)
    for progress in (None, "40 %", {"work": "much"}, {}):
        watch.hear("memory", Health(False, "", {"progress": progress}), 9.0)
    assert watch.still_s("memory", 10.0) == 10.0
