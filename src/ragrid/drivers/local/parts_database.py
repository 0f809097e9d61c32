"""The grid's own PostgreSQL, where a service asks for one (pure)."""

from collections.abc import Mapping
from urllib.parse import quote

from ragrid.drivers.local.part import Part, Probe, Scrape
from ragrid.drivers.local.parts_services import python_part_command
from ragrid.drivers.local.site import Site
from ragrid.spec.settings import DatabaseAccount, DatabaseSettings, Listen, dump_settings

#: How the part is called, and the certificate that it shows.
POSTGRESQL = "postgresql"
#: What services use of the server where it is there, and only a superuser may make.
EXTENSIONS: Mapping[str, tuple[str, ...]] = {"memory": ("vector",)}


def database_part(site: Site) -> Part:
    """Return the process that runs PostgreSQL and says how it is."""
    database = site.grid.database
    settings = DatabaseSettings(
        listen=Listen(host=site.address, port=database.metrics_port),
        host=site.address,
        port=database.port,
        programs_directory=site.programs.postgresql,
        data_directory=site.layout.data / POSTGRESQL,
        run_directory=site.layout.run / POSTGRESQL,
        certificate_file=site.secrets.certificate(POSTGRESQL),
        key_file=site.secrets.key(POSTGRESQL),
        accounts=tuple(
            DatabaseAccount(
                name=account_of(service),
                password_file=site.secrets.database_password(service),
                extensions=EXTENSIONS.get(service, ()),
            )
            for service in services_with_accounts(site)
        ),
        max_connections=database.max_connections,
    )
    return Part(
        name=POSTGRESQL,
        version=site.programs.version("postgres"),
        command=python_part_command(site, "ragrid.services.database", "etc/postgresql.json"),
        ports=(
            site.port("database.port", database.port),
            site.port("database.metrics_port", database.metrics_port),
        ),
        probe=Probe(f"http://{site.address}:{database.metrics_port}/readyz"),
        scrape=Scrape(site.address, database.metrics_port),
        files={"etc/postgresql.json": dump_settings(settings)},
        stop_wait_s=28.0,  # what lies in memory is written; the supervisor itself has 30 s
        priority=15,
    )


def services_with_accounts(site: Site) -> tuple[str, ...]:
    """Return the services that are kept in the grid's PostgreSQL, by name."""
    memory = site.grid.services.memory
    wanted = {
        "memory": memory is not None and memory.store == "postgresql",
        "tokens": site.grid.auth.store == "postgresql",
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def account_of(service: str) -> str:
    """Return the name of the role, and of the database that it owns."""
    return f"ragrid_{service}"


def database_address(site: Site, service: str, password: str) -> str:
    """Return the address of the database of `service`: TLS, verified against the grid's own authority."""
    host = site.grid.address_of(site.grid.database.on[0])
    shown = f"[{host}]" if ":" in host else host
    authority = quote(str(site.secrets.authority_certificate))
    name = account_of(service)
    where = f"{shown}:{site.grid.database.port}/{name}?sslmode=verify-full&sslrootcert={authority}"
    return f"postgresql://{name}:{quote(password, safe='')}@{where}"
