"""Who is calling, as the edge tells the services.

The edge has proven it; services believe these headers because only the edge holds their service key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from aiohttp import web

from common.errors import Forbidden
from common.permissions import grants

ROUTE_HEADER = "X-Gatehouse-Route"


@dataclass(frozen=True, slots=True)
class Identity:
    """One proven caller. `user` is None for keys that belong to an organization alone."""

    user: UUID | None
    org: UUID
    role: str
    tier: str = "free"
    session: UUID | None = None
    key: UUID | None = None
    permissions: frozenset[str] = field(default_factory=frozenset)

    def allows(self, permission: str) -> bool:
        return grants(self.permissions, permission)

    def own_user(self) -> UUID:
        """The user, where only a user will do. Raises Forbidden for a key that belongs to an organization alone."""
        if self.user is None:
            raise Forbidden("This belongs to a user, and this key has none")
        return self.user

    def require_sign_in(self) -> None:
        """For what outlives a leaked key: raises Forbidden for an API key."""
        if self.key is not None:
            raise Forbidden("Sign in to do this: an API key may not")

    @property
    def subject(self) -> str:
        """Whom limits count: the user, or the key when it has none."""
        return f"user:{self.user}" if self.user else f"key:{self.key}"

    def headers(self) -> Iterator[tuple[str, str]]:
        """The headers that carry this identity to a service; absent values are left out."""
        if self.user:
            yield "X-Gatehouse-User", str(self.user)
        yield "X-Gatehouse-Org", str(self.org)
        yield "X-Gatehouse-Role", self.role
        yield "X-Gatehouse-Tier", self.tier
        if self.session:
            yield "X-Gatehouse-Session", str(self.session)
        if self.key:
            yield "X-Gatehouse-Key", str(self.key)
        yield "X-Gatehouse-Permissions", " ".join(sorted(self.permissions))


def from_headers(headers: Mapping[str, str]) -> Identity | None:
    """The identity in a request from the edge, None for an anonymous caller."""
    org = headers.get("X-Gatehouse-Org")
    if org is None:
        return None
    return Identity(
        user=_uuid(headers.get("X-Gatehouse-User")),
        org=UUID(org),
        role=headers.get("X-Gatehouse-Role", ""),
        tier=headers.get("X-Gatehouse-Tier", "free"),
        session=_uuid(headers.get("X-Gatehouse-Session")),
        key=_uuid(headers.get("X-Gatehouse-Key")),
        permissions=frozenset(headers.get("X-Gatehouse-Permissions", "").split()),
    )


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)
