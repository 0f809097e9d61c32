"""When a PostgreSQL runs, and how its services reach it."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ragrid.agent.certificates import ends_of
from ragrid.agent.metrics import AgentMetrics
from ragrid.drivers.local.assemble import parts_of
from ragrid.drivers.local.layout import Layout
from ragrid.drivers.local.parts_database import database_address
from ragrid.drivers.local.prepare import prepare, secret_references
from ragrid.drivers.local.programs import needed_programs
from ragrid.drivers.local.site import Programs, Site
from ragrid.monitoring.names import CERTIFICATE_ENDS
from ragrid.spec.load import load_grid_text
from ragrid.spec.settings import (
    AgentSettings,
    ControllerSettings,
    DatabaseSettings,
    MemorySettings,
    S,
    TokensSettings,
    load_settings,
)
from ragrid.system.certificates import LEAF_LIFETIME
from ragrid.system.clock import ManualClock

PROGRAM = Path("/opt/program")
PROGRAMS = Programs(
    python=PROGRAM, nginx=PROGRAM, etcd=PROGRAM, consul=PROGRAM, prometheus=PROGRAM, node_exporter=PROGRAM,
    postgresql=Path("/opt/postgresql/bin"),
)  # fmt: skip
HOSTS = "grid: lab\nhosts: {sark: {lan: 10.0.0.1}, clu: {lan: 10.0.0.2}}\n"
SQLITE = "services: {memory: {}}\n"
BOTH = "auth: {store: postgresql}\nservices: {memory: {on: [clu, sark], store: postgresql}}\n"
ELSEWHERE = f"database: {{url: 'env:DATABASE_URL'}}\n{BOTH}"


def site(keys: str, host: str = "sark", hosts: str = HOSTS) -> Site:
    grid = load_grid_text(hosts + keys, "grid.yaml").grid
    return Site(grid=grid, host=host, layout=Layout(Path("/srv/lab")), programs=PROGRAMS, version="1")


def settings_of(here: Site, part: str, kind: type[S], folder: Path) -> S:
    (found,) = [one for one in parts_of(here) if one.name == part]
    (folder / f"{part}.json").write_bytes(found.files[f"etc/{part}.json"])
    return load_settings(folder / f"{part}.json", kind)


@pytest.mark.parametrize(
    ("keys", "host", "runs"),
    [
        (SQLITE, "sark", False),
        (BOTH, "sark", True),
        (BOTH, "clu", False),
        (ELSEWHERE, "sark", False),
        (f"database: {{on: [clu]}}\n{BOTH}", "clu", True),
        ("database: {port: 15432}\nservices: {memory: {}}\n", "sark", False),
    ],
)
def test_it_runs_where_a_store_asks_for_it_and_nothing_is_named_instead(keys: str, host: str, runs: bool) -> None:
    here = site(keys, host)
    assert ("postgresql" in [part.name for part in parts_of(here)]) == runs
    assert ("postgres" in needed_programs(here.grid)) == here.grid.runs_database


def test_each_service_has_an_account_of_its_own(tmp_path: Path) -> None:
    here = site(BOTH)
    found = settings_of(here, "postgresql", DatabaseSettings, tmp_path)
    assert [account.name for account in found.accounts] == ["ragrid_memory", "ragrid_tokens"]
    assert (found.host, found.port, str(found.programs_directory)) == ("10.0.0.1", 5432, "/opt/postgresql/bin")
    tokens, memory = (
        site("auth: {store: postgresql}\nservices: {memory: {}}\n"),
        site("services: {memory: {store: postgresql}}\n"),
    )
    assert [one.name for one in settings_of(tokens, "postgresql", DatabaseSettings, tmp_path).accounts] == [
        "ragrid_tokens"
    ]
    assert [one.name for one in settings_of(memory, "postgresql", DatabaseSettings, tmp_path).accounts] == [
        "ragrid_memory"
    ]


def test_services_are_told_a_file_and_never_an_address(tmp_path: Path) -> None:
    here = site(BOTH)
    assert settings_of(here, "tokens", TokensSettings, tmp_path).database_url_file == here.secrets.database_url(
        "tokens"
    )
    assert settings_of(here, "memory", MemorySettings, tmp_path).database_url_file == here.secrets.database_url(
        "memory"
    )
    elsewhere = site(ELSEWHERE)
    named = settings_of(elsewhere, "memory", MemorySettings, tmp_path)
    assert named.database_url_file == elsewhere.secrets.resolved("database-url")
    assert str(secret_references(elsewhere)["database-url"]) == "env:DATABASE_URL"
    in_file = settings_of(site("services: {memory: {backups: 5}}\n"), "memory", MemorySettings, tmp_path)
    assert (in_file.database_url_file, in_file.backups_kept) == (None, 5)


def test_an_address_nobody_needs_is_not_asked_for() -> None:
    assert "database-url" not in secret_references(site(f"database: {{url: 'env:DATABASE_URL'}}\n{SQLITE}"))


def test_the_address_has_tls_and_survives_any_password() -> None:
    address = urlsplit(database_address(site(BOTH, "clu"), "memory", "p@/:?#w"))
    assert (address.hostname, address.port, address.path) == ("10.0.0.1", 5432, "/ragrid_memory")
    assert (address.username, address.password) == ("ragrid_memory", "p%40%2F%3A%3F%23w")
    wanted = {"sslmode": ["verify-full"], "sslrootcert": ["/srv/lab/secrets/ca.crt"]}
    assert parse_qs(address.query) == wanted
    six = site(
        "auth: {store: postgresql}\nservices: {memory: {}}\n", hosts="grid: lab\nhosts: {sark: {lan: 'fd00::1'}}\n"
    )
    assert "@[fd00::1]:5432/" in database_address(six, "tokens", "p")


@pytest.mark.parametrize("keys", [SQLITE, BOTH, f"gateway: {{mutual_tls: true}}\n{SQLITE}"])
def test_every_certificate_that_is_made_is_watched(tmp_path: Path, keys: str) -> None:
    here = replace(site(keys), layout=Layout(tmp_path))
    prepare(here, ManualClock(), say=lambda _: None)
    watched = settings_of(here, "agent", AgentSettings, tmp_path).certificates
    assert sorted(watched) == sorted((tmp_path / "secrets").glob("*.crt"))
    metrics = AgentMetrics()
    for name, at_s in ends_of((*watched, tmp_path / "none.crt")):
        metrics.certificate_ends(name, at_s)
    found = metrics.registry.get_sample_value(CERTIFICATE_ENDS, {"certificate": "gateway"})
    assert found == pytest.approx(ManualClock().now_s() + LEAF_LIFETIME.total_seconds(), abs=1)
    assert metrics.registry.get_sample_value(CERTIFICATE_ENDS, {"certificate": "none"}) is None


def test_the_controller_of_each_host_knows_every_token_service_and_asks_its_own_first(tmp_path: Path) -> None:
    keys = f"gateway: {{on: [sark, clu]}}\nauth: {{on: [sark, clu], store: postgresql}}\n{SQLITE}"
    addresses = ["http://10.0.0.1:3020", "http://10.0.0.2:3020"]
    for host, wanted in (("sark", addresses), ("clu", addresses[::-1])):
        found = settings_of(site(keys, host), "controller", ControllerSettings, tmp_path)
        assert list(found.token_services) == wanted
