"""The verifier that a process of ours uses, from its settings."""

from prometheus_client import Gauge

from ragrid.identity.keys import KeyFile
from ragrid.identity.revocations import RevocationFile
from ragrid.identity.verify import TokenVerifier
from ragrid.spec.settings import TokenTrust
from ragrid.system.clock import Clock

REVOCATIONS_AGE = Gauge(
    "ragrid_revocations_age_seconds",
    "Time since the token service last confirmed what this process knows to be revoked.",
)


def open_verifier(trust: TokenTrust, clock: Clock) -> TokenVerifier:
    """Return a verifier that follows the files of keys and revocations; neither has to exist yet."""
    keys = KeyFile(trust.jwks_file, clock)
    if trust.revocations_file is None:
        return TokenVerifier(trust, keys, clock)
    revocations = RevocationFile(trust.revocations_file, clock)
    REVOCATIONS_AGE.set_function(revocations.age_s)
    return TokenVerifier(trust, keys, clock, revocations=revocations)
