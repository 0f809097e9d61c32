"""Where services keep what several hosts share: PostgreSQL."""

from pydantic import Field

from ragrid.spec import kinds
from ragrid.spec.section import Section


class Database(Section):
    """PostgreSQL. It runs exactly when something has `store: postgresql` and no `url` is named."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="The host that runs it. Default: the first host."
    )
    port: kinds.Port = Field(default=5432, description="Private port; TLS and a password, or nothing.")
    metrics_port: kinds.Port = Field(default=9187, description="Private port with its metrics.")
    programs: kinds.AbsolutePath | None = Field(
        default=None,
        description="Folder with `initdb` and `postgres`, 15 or newer. Default: the newest that Debian has.",
    )
    max_connections: kinds.ConnectionCount = Field(default=200, description="Connections that it allows.")
    url: kinds.Secret | None = Field(
        default=None,
        description="Instead: where the address of a PostgreSQL that runs already lies, "
        "`postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`. The user may create schemas in the database.",
    )
