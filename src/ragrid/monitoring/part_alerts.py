"""Alerts about parts (pure): down, not scraped, given up, or going on with what they knew before."""

from ragrid.monitoring import names
from ragrid.monitoring.objective import number
from ragrid.monitoring.settings import Alert, Thresholds


def part_alerts(limits: Thresholds) -> tuple[Alert, ...]:
    """Return what every grid watches of its parts."""
    return (*_WORKING, *_up_to_date(limits))


_WORKING = (
    Alert(
        name="PartNotScraped",
        expression="up == 0",
        severity="page",
        hold="1m",
        summary="{{ $labels.part }} at {{ $labels.instance }} does not answer Prometheus",
        description="Its metrics could not be read for a minute: it is down, hung, or its port is not reached.",
    ),
    Alert(
        name="PartDown",
        expression=f"max by (part) ({names.INSTANCE_UP}) == 0",
        severity="page",
        hold="30s",
        summary="No instance of {{ $labels.part }} works",
        description="The agent's checks fail on every instance, so the gateway answers 503 for it.",
    ),
    Alert(
        name="InstanceDown",
        expression=f"{names.INSTANCE_UP} == 0",
        severity="ticket",
        hold="1m",
        summary="Instance {{ $labels.instance }} of {{ $labels.part }} does not work",
        description="The agent's check of it has failed for a minute; it gets no requests until it passes again.",
    ),
    Alert(
        name="PartGivenUp",
        expression=f"{names.PART_GIVEN_UP} == 1",
        severity="page",
        hold="10s",
        summary="{{ $labels.part }} on {{ $labels.instance }} was restarted again and again, and still fails",
        description="The agent leaves it alone now: what is wrong with it, a restart does not mend.",
    ),
    Alert(
        name="RegistryUnreachable",
        expression=f"{names.REGISTRY_UP} == 0",
        severity="ticket",
        hold="1m",
        summary="The agent on {{ $labels.instance }} does not reach the registry",
        description="Requests go on with the last good endpoints; instances that come or go are not noticed.",
    ),
    Alert(
        name="ScrapeCoverageIncomplete",
        expression=f"{names.SCRAPE_COVERAGE} < 1",
        severity="ticket",
        hold="2m",
        summary="Prometheus sees {{ $value | humanizePercentage }} of the grid",
        description="Alerts about what is not scraped cannot fire; `ragrid status` names it.",
    ),
)


def _up_to_date(limits: Thresholds) -> tuple[Alert, ...]:
    return (
        Alert(
            name="GatewayStateTooOld",
            expression=f"{names.GATEWAY_STATE_AGE} > {number(limits.state_age_s)} or {names.GATEWAY_STATE_AGE} == -1",
            severity="ticket",
            hold="1m",
            summary="The gateway knows keys and revocations of {{ $value | humanizeDuration }} ago",
            description=(
                "The token service or the controller is away. It goes on with the last good state, and refuses"
                " administration. A value of -1 s means: nothing was confirmed since nginx started."
            ),
        ),
        Alert(
            name="RevocationsTooOld",
            expression=f"{names.REVOCATIONS_AGE} > {number(limits.state_age_s)}",
            severity="ticket",
            hold="1m",
            summary=(
                "{{ $labels.part }} at {{ $labels.instance }} knows revocations of {{ $value | humanizeDuration }} ago"
            ),
            description="A token that is revoked now stays good there. The token service, or the controller, is away.",
        ),
        Alert(
            name="GatewayConfigurationRefused",
            expression=f"{names.GATEWAY_RELOADED} == 0",
            severity="ticket",
            hold="1m",
            summary="The gateway refused its last new configuration and goes on with the one before",
            description=(
                "What was changed in grid.yaml, or a renewed certificate, is not in force."
                " run/gateway/reload.json below the state directory has the reason; mend it and run `ragrid up` again."
            ),
        ),
        Alert(
            name="CertificateEnds",
            expression=f"{names.CERTIFICATE_ENDS} - time() < {number(limits.certificate_s)}",
            severity="ticket",
            hold="1m",
            summary="{{ $labels.certificate }}.crt on {{ $labels.instance }} ends in {{ $value | humanizeDuration }}",
            description="`ragrid up` renews the certificate, or takes up the one of your own that you have renewed.",
        ),
    )
