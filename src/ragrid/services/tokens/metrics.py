"""What the token service counts, besides its requests."""

from prometheus_client import Counter, Gauge

ISSUED = Counter("ragrid_tokens_issued", "Access tokens issued.", ("lifetime",))
REFUSED = Counter("ragrid_tokens_refused", "Requests of clients that were refused.", ("error",))
KEY_AGE = Gauge("ragrid_tokens_key_age_seconds", "For how long the current key has been signing.")
REVOCATIONS = Gauge("ragrid_tokens_revocations", "Revoked tokens that have not expired yet.")
TENDING_FAILED = Counter("ragrid_tokens_tending_failures", "Turns of the rotation loop that failed.")
