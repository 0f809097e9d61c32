"""Keys that take long to make: one of each for a whole session, where it matters to nobody whose it is."""

from functools import cache

from joserfc.jwk import RSAKey


@cache
def rsa_key() -> RSAKey:
    """The one RSA key of 2048 bits: making it is 50 ms of work, often three times that."""
    return RSAKey.generate_key(2048, {"alg": "RS256"}, auto_kid=True)
