"""Rules about the grid's own PostgreSQL (pure), for grids that run one."""

from ragrid.monitoring import names
from ragrid.monitoring.objective import number
from ragrid.monitoring.settings import Alert

#: The part whose target is the process that keeps PostgreSQL.
DATABASE_PART = "postgresql"
#: Share of the allowed connections; PostgreSQL refuses the next one.
MOST_CONNECTIONS_RATIO = 0.8
#: A transaction of ours takes milliseconds. One that stays open keeps what was deleted since on the disk, seconds.
OLDEST_TRANSACTION_S = 600.0


def database_alerts() -> tuple[Alert, ...]:
    """Return what is worth waking somebody for."""
    return (
        Alert(
            name="DatabaseDown",
            expression=f"{names.DATABASE_UP} == 0",
            severity="page",
            hold="30s",
            summary="PostgreSQL at {{ $labels.instance }} does not answer",
            description="What is kept in it cannot be read or written: memories or new tokens.",
        ),
        Alert(
            name="DatabaseConnectionsHigh",
            expression=(
                f"sum by (instance) ({names.DATABASE_CONNECTIONS}) / on (instance)"
                f" {names.DATABASE_MAX_CONNECTIONS} > {number(MOST_CONNECTIONS_RATIO)}"
            ),
            severity="ticket",
            hold="5m",
            summary="PostgreSQL at {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its connections",
            description="When there is none left, services that need one answer with 503.",
        ),
        Alert(
            name="DatabaseTransactionOld",
            expression=f"{names.DATABASE_OLDEST_TRANSACTION} > {number(OLDEST_TRANSACTION_S)}",
            severity="ticket",
            hold="5m",
            summary="A transaction in PostgreSQL at {{ $labels.instance }} is {{ $value | humanizeDuration }} old",
            description="Nothing that was deleted since can be cleared away; somebody has forgotten a session.",
        ),
    )
