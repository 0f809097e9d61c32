"""Every verdict of the doctor, on both sides of its border."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ragrid.system.machine import Memory
from ragrid.system.ports import ListeningSocket
from ragrid.verify import doctor, software
from ragrid.verify.doctor import WantedPort
from ragrid.verify.finding import Finding

PORT = WantedPort("services.chromadb.port", "127.0.0.1", 8001)
HERE = Path("/usr/sbin/nginx")


def moment(year: int) -> float:
    return datetime(year, 6, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (doctor.judge_disk(999_999_999, Path("/s")), "fail"),
        (doctor.judge_disk(1_000_000_000, Path("/s")), "warn"),
        (doctor.judge_disk(4_999_999_999, Path("/s")), "warn"),
        (doctor.judge_disk(5_000_000_000, Path("/s")), "ok"),
        (doctor.judge_memory(Memory(3_999_999_999, 1)), "warn"),
        (doctor.judge_memory(Memory(4_000_000_000, 1)), "ok"),
        (doctor.judge_clock(moment(1970), True), "fail"),
        (doctor.judge_clock(moment(2025), True), "fail"),
        (doctor.judge_clock(moment(2101), True), "fail"),
        (doctor.judge_clock(moment(2026), True), "ok"),
        (doctor.judge_clock(moment(2026), False), "warn"),
        (doctor.judge_clock(moment(2026), None), "warn"),
        (doctor.judge_descriptors(4096, 4096), "ok"),
        (doctor.judge_descriptors(1024, 4096), "warn"),
        (doctor.judge_descriptors(1024, 4095), "fail"),
        (doctor.judge_state_path(Path("/" + "s" * 74)), "ok"),
        (doctor.judge_state_path(Path("/" + "s" * 75)), "fail"),
        (doctor.judge_state_path(Path("/" + "ü" * 38)), "fail"),
        (doctor.judge_state_writable(Path("/s"), is_writable=True, is_directory=True), "ok"),
        (doctor.judge_state_writable(Path("/s"), is_writable=False, is_directory=True), "fail"),
        (doctor.judge_state_writable(Path("/s"), is_writable=True, is_directory=False), "fail"),
        (software.judge_python((3, 11)), "ok"),
        (software.judge_python((3, 10)), "fail"),
        (software.judge_program(software.NGINX, HERE, "nginx version: nginx/1.22.1"), "ok"),
        (software.judge_program(software.NGINX, HERE, "nginx version: nginx/1.18.0"), "fail"),
        (software.judge_program(software.NGINX, HERE, "nginx version: nginx/1.31.0"), "warn"),
        (software.judge_program(software.NGINX, HERE, "Segmentation fault"), "warn"),
        (software.judge_program(software.NGINX, None, "nginx: program not found; install it"), "fail"),
        (software.judge_program(software.ETCD, HERE, "etcd Version: 3.4.23\nGo Version: go1.19.8"), "ok"),
        (software.judge_program(software.PROMETHEUS, HERE, "prometheus, version 2.42.0+ds (branch: x)"), "ok"),
    ],
    ids=lambda value: f"{value.name}: {value.seen}" if isinstance(value, Finding) else str(value),
)
def test_the_border_of_each_verdict(finding: Finding, status: str) -> None:
    assert finding.status == status
    assert finding.seen
    assert finding.wanted
    assert bool(finding.fix) == (status != "ok")
    assert "\n" not in finding.seen + finding.fix


def test_a_taken_port_names_its_holder_and_what_to_change() -> None:
    found = doctor.judge_port(PORT, ListeningSocket("127.0.0.1", 8001, 123, "nginx"), frozenset())
    assert (found.status, found.seen) == ("fail", "port 8001 on 127.0.0.1 is taken by nginx (pid 123)")
    assert found.fix == "set services.chromadb.port in grid.yaml to another, or stop that process"


def test_a_port_that_the_grid_itself_holds_is_well() -> None:
    own = ListeningSocket("127.0.0.1", 8001, 123, "chroma")
    assert doctor.judge_port(PORT, own, frozenset({123})).status == "ok"


def test_a_holder_that_nobody_sees_is_still_a_taken_port() -> None:
    assert doctor.judge_port(PORT, None, frozenset()).status == "fail"
    hidden = ListeningSocket("0.0.0.0", 8001)  # noqa: S104 - compared, never opened
    assert doctor.judge_port(PORT, hidden, frozenset()).status == "fail"


def test_a_library_is_found_below_the_root_that_is_given(tmp_path: Path) -> None:
    library = software.Library("lua-cjson", "lua-cjson", ("usr/lib/*/lua/5.1/cjson.so",))
    [missing] = software.look_at_libraries([library], tmp_path)
    assert (missing.status, missing.fix) == ("fail", "sudo apt-get install --no-install-recommends lua-cjson")
    place = tmp_path / "usr/lib/aarch64-linux-gnu/lua/5.1/cjson.so"
    place.parent.mkdir(parents=True)
    place.touch()
    [found] = software.look_at_libraries([library], tmp_path)
    assert (found.status, found.seen) == ("ok", str(place))


def test_another_version_of_a_pinned_package_fails() -> None:
    assert software.look_at_python_package(software.PythonPackage("chromadb", "1.5.9")).status == "ok"
    assert software.look_at_python_package(software.PythonPackage("chromadb", "9.9.9")).status == "fail"
    absent = software.look_at_python_package(software.PythonPackage("no-such-package-here", "1"))
    assert (absent.status, absent.seen) == ("fail", "not installed")


def test_the_pin_is_the_one_of_the_project() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for package in software.PYTHON_PACKAGES:
        assert f'"{package.name}=={package.version}"' in project


def test_a_grid_with_consul_wants_consul_where_the_grid_says_and_no_etcd() -> None:
    names = [program.name for program in software.programs_of("consul", "/opt/consul/bin/consul")]
    assert names == ["nginx", "/opt/consul/bin/consul", "prometheus", "prometheus-node-exporter"]
    assert software.programs_of("etcd", "etcd") == software.PROGRAMS


def test_a_database_is_looked_for_where_it_lies_and_installed_without_debians_own() -> None:
    *others, postgres = software.programs_of("etcd", "etcd", postgres="/usr/lib/postgresql/15/bin/postgres")
    assert tuple(others) == software.PROGRAMS
    found = software.judge_program(
        postgres, Path(postgres.name), "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    )
    assert (found.status, found.fix) == ("ok", "")
    missing = software.judge_program(postgres, None, "not found; x")
    assert (missing.status, missing.fix) == ("fail", "scripts/install-packages database")
