"""Every file of the example grids. After a wanted change: `python tests/unit/drivers/test_rendered_files.py`."""

from functools import cache
from pathlib import Path

import pytest

from ragrid.drivers.local.assemble import parts_of
from ragrid.drivers.local.driver import LocalDriver
from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.parts_gateway import lua_directory
from ragrid.drivers.local.rendered import rendered_files
from ragrid.drivers.local.site import Programs, Site
from ragrid.spec.load import load_grid

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "rendered"
EXAMPLES = ("local", "local-vllm", "tron")
PROGRAMS = Programs(
    python=Path("/opt/ragrid/bin/python"),
    nginx=Path("/usr/sbin/nginx"),
    etcd=Path("/usr/bin/etcd"),
    consul=Path("/usr/bin/consul"),
    prometheus=Path("/usr/bin/prometheus"),
    node_exporter=Path("/usr/bin/prometheus-node-exporter"),
    postgresql=Path("/usr/lib/postgresql/15/bin"),
    versions=(("nginx", "1.22.1"), ("etcd", "3.4.23"), ("prometheus", "2.42.0")),
)


def render(example: str) -> dict[str, bytes]:
    """Return `host/name` -> content of everything that an example grid is rendered to."""
    grid = load_grid(ROOT / "examples" / f"{example}.yaml").grid
    files: dict[str, bytes] = {}
    for host in grid.hosts:
        layout = Layout(Path("/srv/ragrid") / grid.grid)
        site = Site(grid=grid, host=host, layout=layout, programs=PROGRAMS, version="1.2.3")
        command = LocalDriver(layout, (), python=PROGRAMS.python).supervisor_command()
        driver = LocalDriver(layout, parts_of(site, supervisor_command=command), python=PROGRAMS.python)
        for name, content in rendered_files(driver).items():
            files[f"{host}/{name}"] = content.replace(bytes(lua_directory()), b"/opt/ragrid/lua")
    return files


rendered = cache(render)


def kept(example: str) -> dict[str, bytes]:
    folder = GOLDEN / example
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_rendered_file_is_as_it_was(example: str) -> None:
    assert rendered(example) == kept(example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_same_grid_gives_the_same_bytes(example: str) -> None:
    assert render(example) == rendered(example)


if __name__ == "__main__":
    for each in EXAMPLES:
        for old in kept(each):
            (GOLDEN / each / old).unlink()
        for name, content in render(each).items():
            (GOLDEN / each / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / each / name).write_bytes(content)
