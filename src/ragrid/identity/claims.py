"""Who a caller is, once a token was verified."""

from dataclasses import dataclass, field

from ragrid.errors import AuthError


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of one access token (RFC 9068). Times are seconds since the Unix epoch."""

    issuer: str
    subject: str
    client_id: str
    tenant: str
    audience: tuple[str, ...]
    token_id: str
    issued_at_s: float
    expires_at_s: float
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = field(default_factory=frozenset)

    def require(self, permission: str) -> None:
        """Raise AuthError unless the token allows `permission`, a `service:action`."""
        if permission not in self.permissions:
            raise AuthError(f"token of {self.subject!r} lacks {permission!r}; ask for a role that holds it")
