"""Every key of a grid is read by something, or says that nothing does yet."""

import json
from pathlib import Path

import pytest

from ragrid.cli.main import run
from ragrid.drivers.local.assemble import parts_of
from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.site import Programs, Site
from ragrid.spec.load import load_grid, load_grid_text
from ragrid.spec.models import Grid
from ragrid.spec.not_yet import asked_in_vain, not_yet
from ragrid.spec.outline import keys_of, sections_of
from ragrid.spec.reference import grid_reference
from ragrid.spec.schema import json_schema
from ragrid.spec.section import NotYet, Section

ROOT = Path(__file__).parents[3]
PROGRAMS = Programs(
    python=Path("/usr/bin/python3"),
    nginx=Path("/usr/sbin/nginx"),
    etcd=Path("/usr/bin/etcd"),
    consul=Path("/usr/bin/consul"),
    prometheus=Path("/usr/bin/prometheus"),
    node_exporter=Path("/usr/bin/prometheus-node-exporter"),
    postgresql=Path("/usr/lib/postgresql/15/bin"),
)
#: Keys that no part of an example is made from, with the module that reads them.
READ_ELSEWHERE = {
    "Grid.welcome": "cli/up.py",
    "Welcome.documents": "cli/up.py",
    "Welcome.question": "cli/up.py",
    "Network.cidr": "spec/conflicts/placement.py",
    "Gateway.vip": "drivers/local/prepare.py",
    "Tls.certificate": "drivers/local/given_certificate.py",
    "Tls.key": "drivers/local/given_certificate.py",
    "Tls.authority": "drivers/local/given_certificate.py",
    "Registry.executable": "drivers/local/programs.py",
    "Database.programs": "drivers/local/programs.py",
    "Generator.address": "drivers/local/parts_services.py",
    "Generator.api_key": "drivers/local/prepare.py",
    "Vllm.api_key": "drivers/local/prepare.py",
}
TEXT = """\
grid: lab
hosts: {one: {lan: 10.0.0.1}}
services: {memory: {}}
"""


def keys() -> dict[str, str | None]:
    """Return `Section.field` -> what it does not do yet, of every key of a grid."""
    return {
        f"{section.__name__}.{name}": not_yet(field, shape)
        for _, section in sections_of(Grid)
        for name, (_, field, shape) in zip(section.model_fields, keys_of(section), strict=True)
    }


@pytest.fixture(scope="module")
def read() -> set[str]:
    """`Section.field` of everything that is read when the parts of the example grids are made."""
    grids = [load_grid(ROOT / "examples" / f"{name}.yaml").grid for name in ("local", "local-vllm", "tron")]
    seen: set[str] = set()

    def record(section: Section, name: str) -> object:
        if name in type(section).model_fields:
            seen.add(f"{type(section).__name__}.{name}")
        return object.__getattribute__(section, name)

    with pytest.MonkeyPatch.context() as watching:
        watching.setattr(Section, "__getattribute__", record, raising=False)
        for grid in grids:
            for host in grid.hosts:
                parts_of(Site(grid, host, Layout(Path("/srv/grid")), PROGRAMS, "1"))
    return seen


def test_each_key_is_read_or_says_that_it_is_not(read: set[str]) -> None:
    silent = {key for key, missing in keys().items() if missing is None} - read - READ_ELSEWHERE.keys()
    assert not silent, "nothing reads these keys: mark them with NotYet(), or name the module that reads them above"


def test_a_key_that_is_read_does_not_say_that_it_is_not(read: set[str]) -> None:
    stale = {key for key, missing in keys().items() if missing == NotYet().says} & read
    assert not stale, "these keys are read: take their NotYet() away"


@pytest.mark.parametrize(("key", "module"), READ_ELSEWHERE.items())
def test_what_is_read_elsewhere_is_read_there(key: str, module: str) -> None:
    assert key in keys()
    assert f".{key.partition('.')[2]}" in (ROOT / "src" / "ragrid" / module).read_text()


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ("", {}),
        ("networks: {lan: {cidr: 10.0.0.0/24}}", {}),
        ("networks: {lan: {cidr: 10.0.0.0/24, mtu: 9000}}", {"networks.lan.mtu": "not used yet"}),
        ("monitoring: {slo: {throughput: 5/s, availability: 99%}}", {"monitoring.slo.throughput": "not used yet"}),
        ("monitoring: {notify: [{webhook: env:HOOK}]}", {"monitoring.notify": "not used yet"}),
        ("backup: {repositories: [/a, {path: /b, offsite: true}]}", {"backup": "not used yet"}),
        ("gateway: {vip: 10.0.0.9}", {"gateway.vip": "nothing moves it yet"}),
    ],
)
def test_a_file_is_told_what_it_asks_for_in_vain(more: str, missing: dict[str, str]) -> None:
    assert asked_in_vain(load_grid_text(TEXT + more, "grid.yaml")) == missing


def test_reference_and_schema_say_it_before_the_meaning() -> None:
    said = "**Not used yet.** Whether it lies in another building."
    assert f"| `offsite` | `true` or `false` | `false` | {said} |" in grid_reference()
    assert json_schema()["$defs"]["Repository"]["anyOf"][0]["properties"]["offsite"]["description"] == said


def test_the_commands_warn_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(TEXT + "backup: {repositories: [/a]}\nmonitoring: {slo: {throughput: 5/s}}\n")
    for verb in (("config", "show"), ("render", str(tmp_path / "out"))):
        assert run([*verb, "--grid", str(file), "--json"]) == 0
        told = capsys.readouterr()
        assert f"note: {file}: not used yet: backup, monitoring.slo.throughput\n" in told.err
        assert list(json.loads(told.out)["not_yet"]) == ["backup", "monitoring.slo.throughput"]


def test_nothing_is_said_of_a_grid_that_is_used_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text(TEXT)
    assert run(["config", "show", "--grid", str(tmp_path / "grid.yaml"), "--json"]) == 0
    told = capsys.readouterr()
    assert "note" not in told.err
    assert json.loads(told.out)["not_yet"] == {}
