"""API keys as they come in, are stored and go out."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from auth_service.answers import CamelAnswer
from common.permissions import PERMISSION, restrict, role_permissions
from common.validation import ONE_LINE, CamelInput, Input

# RFC 3339; pydantic would take numbers for Unix times, too.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
# All of them have to fit into X-Gatehouse-Permissions, 4 KiB.
_SCOPES_MAX = 50


def _written_out(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise ValueError("Expires at must be a time (ISO 8601)")
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("Expires at must carry a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("Expires at is too far away") from None


def _scope(text: str) -> str:
    if not PERMISSION.fullmatch(text):
        raise ValueError(f"{text[:80]} is not a permission (resource:read, resource:write or resource:manage)")
    return text


class NewKey(CamelInput):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE]
    scopes: (
        Annotated[list[Annotated[str, AfterValidator(_scope)]], Field(min_length=1, max_length=_SCOPES_MAX)] | None
    ) = None
    expires_at: Annotated[datetime, AfterValidator(_in_utc), BeforeValidator(_written_out)] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key with what its owner is in its organization now. `scopes` None: all the owner may do."""

    id: UUID
    org: UUID
    user: UUID | None
    name: str
    preview: str
    scopes: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    limit_count: int | None
    limit_seconds: int | None
    role: str
    tier: str

    def permissions(self) -> list[str]:
        """What it opens now: a scope that its owner has lost since is lost to it too."""
        held = role_permissions(self.role, self.org)
        return sorted(held if self.scopes is None else restrict(held, self.scopes))


class KeyView(CamelAnswer):
    """`scopes` of a key made without any are the owner's permissions."""

    id: UUID
    name: str
    preview: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> "KeyView":
        return cls(
            id=key.id,
            name=key.name,
            preview=key.preview,
            scopes=key.permissions() if key.scopes is None else key.scopes,
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
        )


class NewKeyView(CamelAnswer):
    """`key` is shown this once."""

    id: UUID
    name: str
    key: str
    preview: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None


class KeyPage(BaseModel):
    items: list[KeyView]
    total: int
    page: int
    per_page: int
    total_pages: int


class Resolution(Input):
    key: str


class KeyLimit(BaseModel):
    count: int
    seconds: int


class ResolvedKey(BaseModel):
    """The identity behind a key; `expires_at` is a Unix second."""

    user: UUID | None
    org: UUID
    role: str
    tier: str
    key: UUID
    permissions: list[str]
    expires_at: int | None
    limit: KeyLimit | None

    @classmethod
    def of(cls, key: Key) -> "ResolvedKey":
        limit = None
        if key.limit_count is not None and key.limit_seconds is not None:
            limit = KeyLimit(count=key.limit_count, seconds=key.limit_seconds)
        return cls(
            user=key.user,
            org=key.org,
            role=key.role,
            tier=key.tier,
            key=key.id,
            permissions=key.permissions(),
            expires_at=int(key.expires_at.timestamp()) if key.expires_at else None,
            limit=limit,
        )
