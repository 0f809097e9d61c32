"""Who a caller is, once a token was verified."""

from dataclasses import dataclass, field

from ragrid.errors import AuthError


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of one access token (RFC 9068). Times are seconds since the Unix epoch.

    `memory_namespaces` are patterns (`*` for anything) of the only namespaces of memories that it is for, and
    `memory_user` the only user whose memories it is for; None: it is not held to any.
    """

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
    memory_namespaces: tuple[str, ...] | None = None
    memory_user: str | None = None

    @property
    def is_confined(self) -> bool:
        """It is for a part of the tenant's memories only."""
        return self.memory_namespaces is not None or self.memory_user is not None

    def require(self, permission: str) -> None:
        """Raise AuthError unless the token allows `permission`, a `service:action`."""
        if permission not in self.permissions:
            raise AuthError(f"token of {self.subject!r} lacks {permission!r}; ask for a role that holds it")
