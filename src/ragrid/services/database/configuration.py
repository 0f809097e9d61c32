"""The server's configuration files (pure). Whatever they do not allow is refused."""

from collections.abc import Mapping

from ragrid.spec.settings import DatabaseSettings

#: The role that owns everything. It has no password: only this machine's own users named in `pg_ident.conf` are let in.
SUPERUSER = "postgres"
_MAP = "keeper"


#: Option of the server -> the file that it names, relative to the folder that they lie in.
CONFIGURATION: Mapping[str, str] = {
    "config_file": "postgresql.conf",
    "hba_file": "pg_hba.conf",
    "ident_file": "pg_ident.conf",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
}


def configuration_files(settings: DatabaseSettings, *, administrators: tuple[str, ...]) -> Mapping[str, str]:
    """Return name -> content of those that are text of ours.

    `administrators` are the users of this machine who may be superuser, over the private socket alone.
    """
    return {
        "postgresql.conf": _settings(settings),
        "pg_hba.conf": "".join(
            (
                f"local all {SUPERUSER} peer map={_MAP}\n",
                *(f"hostssl {each.name} {each.name} all scram-sha-256\n" for each in settings.accounts),
            )
        ),
        "pg_ident.conf": "".join(f'{_MAP} "{name}" {SUPERUSER}\n' for name in administrators),
    }


def _settings(settings: DatabaseSettings) -> str:
    values: dict[str, str | int] = {
        "listen_addresses": settings.host,
        "port": settings.port,
        "unix_socket_permissions": "0700",
        "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.2",
        "password_encryption": "scram-sha-256",
        "max_connections": settings.max_connections,
        "shared_buffers": "128MB",
        # What was acknowledged is on the disk; both are the defaults, and must not be changed by a default elsewhere.
        "fsync": "on",
        "synchronous_commit": "on",
        "max_wal_size": "1GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %u@%d ",
        "log_checkpoints": "off",
        # A statement may hold what people have written.
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": 0,
        "lc_messages": "C",
        "logging_collector": "off",
    }
    lines = (f"{name} = {value if isinstance(value, int) else quoted(value)}\n" for name, value in values.items())
    return "# Written by ragrid at every start; edit grid.yaml instead.\n" + "".join(lines)


def quoted(text: str) -> str:
    """Return a value as PostgreSQL's configuration and SQL write it."""
    return "'" + text.replace("'", "''") + "'"
