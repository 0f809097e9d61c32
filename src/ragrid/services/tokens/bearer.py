"""Who a token speaks for, and which client carries it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragrid.services.tokens.clients import Client
from ragrid.services.tokens.people_store import User


@dataclass(frozen=True, slots=True)
class Bearer:
    """The subject of a token, and the client that it was issued to; for a client of its own, both are the same."""

    subject: str
    client_id: str
    tenant: str
    roles: tuple[str, ...]
    #: Who acts for the subject, and for whom that one does (RFC 8693 section 4.1); None when nobody does.
    act: Mapping[str, Any] | None = None

    @property
    def is_person(self) -> bool:
        """A client acts for somebody else."""
        return self.subject != self.client_id


def bearer_of_client(client: Client) -> Bearer:
    """Return a client that speaks for itself."""
    return Bearer(client.client_id, client.client_id, client.tenant, client.roles)


def bearer_of_person(user: User, client_id: str) -> Bearer:
    """Return a person that a client speaks for: tenant and roles are the person's."""
    return Bearer(user.name, client_id, user.tenant, user.roles)
