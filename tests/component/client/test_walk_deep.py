from pathlib import Path

from ragrid.client.walk import Found, walk
from ragrid.system.process import run


def test_folders_nested_deeper_than_python_may_recurse(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    below = "x/" * 1200
    deep.mkdir()
    run(("mkdir", "-p", below), timeout_s=10, directory=deep)  # pathlib itself recurses
    try:
        Path(deep, below, "end.md").write_bytes(b"x")
        assert [one.name for one in walk([deep]) if isinstance(one, Found)] == [below + "end.md"]
    finally:
        run(("rm", "-r", str(deep)), timeout_s=10)
