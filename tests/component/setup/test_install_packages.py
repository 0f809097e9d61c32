"""What scripts/install-packages decides, says and leaves behind; with real packages: scripts/check-fresh-install."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from .conftest import EVERYTHING, SCRIPT, Machine

SOMEBODY_ELSES = "#!/bin/sh\n# the administrator's\nexit 104\n"


def without(*missing: str) -> list[str]:
    return [package for package in EVERYTHING if package not in missing]


def test_nothing_is_missing_and_nothing_is_said_or_done(machine: Machine) -> None:
    for which in ("run", "test"):
        done = machine.install(which, uid=1000)
        assert (done.returncode, done.stdout, done.stderr, machine.calls) == (0, "", "", [])


def test_each_missing_package_is_named_with_its_reason_and_installed(machine: Machine) -> None:
    machine.has(without("etcd-server", "lua-cjson"))
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert "etcd-server                the registry of what runs where" in done.stderr
    assert "lua-cjson                  the gateway reads" in done.stderr
    assert "prometheus" not in done.stderr
    (install,) = [call for call in machine.calls if call.startswith("apt-get")]
    assert install.endswith("install --yes --no-install-recommends --no-remove lua-cjson etcd-server")


def test_what_only_the_tests_need_is_left_to_them(machine: Machine) -> None:
    machine.has(without("wrk"))
    assert machine.install("run").stderr == ""
    assert "wrk" in machine.install("test").stderr


@pytest.mark.parametrize("flavour", ["nginx-light", "nginx"])
def test_any_nginx_will_do(machine: Machine, flavour: str) -> None:
    machine.has([*without("nginx"), flavour])
    assert machine.install().stderr == ""


def test_no_service_may_start_meanwhile_and_none_starts_at_the_next_boot(machine: Machine) -> None:
    machine.has(without("nginx", "etcd-server", "prometheus", "libnginx-mod-http-lua"))
    assert machine.install().returncode == 0
    assert "a start would get 101" in machine.calls
    assert not machine.policy.exists()
    assert machine.enabled == []
    for service in ("nginx", "etcd-server", "prometheus"):
        assert f"deb-systemd-helper disable {service}.service" in machine.calls
        assert f"update-rc.d {service} disable" in machine.calls


def test_postgresql_makes_no_cluster_and_its_settings_stay(machine: Machine) -> None:
    machine.has(without("postgresql"))
    assert machine.install("test").returncode == 0
    assert "create_main_cluster = false" in machine.calls
    assert machine.enabled == []
    assert not machine.postgresql_common.exists()
    (machine.postgresql_common / "createcluster.d").mkdir(parents=True)
    theirs = machine.postgresql_common / "createcluster.d/theirs.conf"
    theirs.write_text("data_directory = '/srv/%v/%c'\n")
    machine.has(without("postgresql"))
    assert machine.install("test").returncode == 0
    assert [file.name for file in theirs.parent.iterdir()] == ["theirs.conf"]


def test_services_and_an_nginx_that_were_here_before_are_left_alone(machine: Machine) -> None:
    machine.has(without("etcd-server", "libnginx-mod-http-lua"))
    wants = machine.folder / "root/etc/systemd/system/multi-user.target.wants"
    for service in ("nginx.service", "prometheus.service"):
        (wants / service).symlink_to(f"/lib/systemd/system/{service}")
    (machine.folder / "root/etc/nginx/modules-enabled/50-mod-stream.conf").symlink_to("/usr/share/stream.conf")
    assert machine.install().returncode == 0
    assert machine.enabled == ["nginx.service", "prometheus.service"]
    assert machine.modules == ["50-mod-stream.conf"]
    assert not [call for call in machine.calls if "nginx" in call and not call.startswith("apt-get")]


def test_a_policy_that_was_here_before_comes_back(machine: Machine) -> None:
    machine.policy.write_text(SOMEBODY_ELSES)
    machine.policy.chmod(0o755)
    machine.has(without("prometheus"))
    assert machine.install().returncode == 0
    assert "a start would get 101" in machine.calls
    assert machine.policy.read_text() == SOMEBODY_ELSES


def test_a_failed_installation_says_so_and_leaves_no_policy(machine: Machine) -> None:
    machine.policy.write_text(SOMEBODY_ELSES)
    machine.policy.chmod(0o755)
    machine.has(without("prometheus"))
    machine.say("apt-fails")
    done = machine.install()
    assert done.returncode == 1
    assert "E: disk full" in done.stderr
    assert machine.policy.read_text() == SOMEBODY_ELSES
    assert not machine.postgresql_common.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation_leaves_no_policy_and_no_new_service(machine: Machine, how: signal.Signals) -> None:
    machine.has(without("prometheus"))
    machine.say("apt-hangs")
    hanging = machine.folder / "state/apt-is-hanging"
    # A session of its own: the signal goes to the script and to apt-get, as from a terminal.
    # Who runs tests in the background has SIGINT ignored, and a shell cannot trap what it was born ignoring.
    process = subprocess.Popen(
        ("/usr/bin/env", "--default-signal=INT", SCRIPT),
        env=machine.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not hanging.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert machine.enabled == ["prometheus.service"]
        assert interrupted(process, how) == 128 + how
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert not machine.policy.exists()
    assert not machine.postgresql_common.exists()
    assert machine.enabled == []


def interrupted(process: subprocess.Popen[bytes], how: signal.Signals) -> int:
    """Signal the whole session as a terminal does, again when a shell was between two commands; return how it ended."""
    for _ in range(6):
        os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=5)
    return process.wait(timeout=1)


def test_a_policy_left_by_a_killed_run_is_removed_by_the_next(machine: Machine) -> None:
    mark = next(line for line in SCRIPT.read_text().splitlines() if line.startswith("MARK=")).split("'")[1]
    machine.policy.write_text(f"#!/bin/sh\n{mark}\nexit 101\n")
    machine.policy.with_name("policy-rc.d.before-ragrid").write_text(SOMEBODY_ELSES)
    assert machine.install().returncode == 0
    assert machine.policy.read_text() == SOMEBODY_ELSES


def test_the_lists_are_fetched_only_when_they_lack_a_package(machine: Machine) -> None:
    machine.has(without("wrk"))
    machine.say("lists-are-empty")
    assert machine.install("test").returncode == 0
    verbs = [verb for call in machine.calls for verb in call.split() if verb in ("install", "update")]
    assert verbs == ["install", "update", "install"]


def test_a_person_at_a_terminal_is_asked(machine: Machine) -> None:
    machine.has(without("prometheus"))
    refused = machine.install_on_a_terminal("n")
    assert (refused.returncode, machine.calls) == (1, [])
    assert "Install them now? [Y/n]" in refused.stderr
    assert "nothing was installed" in refused.stderr
    assert machine.install_on_a_terminal("").returncode == 0
    assert machine.calls


@pytest.mark.parametrize("switch", [{"YES": "1"}, {"CI": "true"}])
def test_nobody_is_asked_where_nobody_wants_to_be(machine: Machine, switch: dict[str, str]) -> None:
    machine.has(without("prometheus"))
    done = machine.install_on_a_terminal("n", **switch)
    assert done.returncode == 0
    assert "Install them now?" not in done.stderr


def test_a_user_with_sudo_uses_it(machine: Machine) -> None:
    machine.has(without("prometheus"))
    machine.say("sudo-works")
    assert machine.install(uid=1000).returncode == 0
    assert machine.calls[0] == f"sudo sh {SCRIPT} --as-root prometheus"
    assert machine.enabled == []


def test_a_user_without_sudo_is_told_exactly_what_to_type(machine: Machine) -> None:
    machine.has(without("prometheus", "etcd-server"))
    done = machine.install(uid=1000)
    assert (done.returncode, machine.calls) == (1, [])
    assert "  apt-get install --no-install-recommends etcd-server prometheus\n" in done.stderr


def test_a_python_that_is_missing_or_old_is_installed_or_named(machine: Machine) -> None:
    machine.has(without("python3", "python3-venv"))
    done = machine.install(PYTHON="/no/such/python3")
    assert "python3-venv" in done.stderr
    assert done.returncode == 1
    assert "make PYTHON=/path/to/python3" in done.stderr


def test_a_database_is_installed_for_who_asks_for_it(machine: Machine) -> None:
    machine.has(without("postgresql", "wrk"))
    assert machine.install("run").stderr == ""
    done = machine.install("database")
    assert "postgresql" in done.stderr
    assert "wrk" not in done.stderr


def test_a_wrong_argument_gets_the_usage(machine: Machine) -> None:
    done = machine.install("everything")
    assert (done.returncode, machine.calls) == (2, [])
    assert "usage: scripts/install-packages [run|database|test], not 'everything'" in done.stderr
