"""API keys in the database. Every query but the resolution is scoped by user and organization."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from auth_service.keys.models import Key
from common.ids import uuid7

_USED_AT_MOST_EVERY = timedelta(minutes=1)

# A key is worth what its owner is now, so that is read along with it. A key of an organization alone has no role yet
# and is not made before "Identity".
_KEY = """
    SELECT k.id, k.org_id AS org, k.user_id AS user, k.name, k.preview, k.scopes, k.created_at, k.expires_at,
           k.last_used_at, k.limit_count, k.limit_seconds, m.role, o.tier
    FROM auth.api_keys k
    JOIN auth.users u ON u.id = k.user_id AND u.is_active
    JOIN auth.memberships m ON m.user_id = k.user_id AND m.org_id = k.org_id
    JOIN auth.organizations o ON o.id = k.org_id
    WHERE k.revoked_at IS NULL
"""
_MINE = f"{_KEY} AND k.user_id = $1 AND k.org_id = $2"
_LIST = f"{_MINE} ORDER BY k.created_at DESC, k.id DESC LIMIT $3 OFFSET $4"
_COUNT = f"SELECT count(*) FROM ({_MINE}) mine"  # noqa: S608 - a constant of ours
_FIND = f"{_MINE} AND k.id = $3"
_RESOLVE = f"{_KEY} AND k.hash = $1 AND (k.expires_at IS NULL OR k.expires_at > $2)"
_INSERT = """
    INSERT INTO auth.api_keys (id, org_id, user_id, name, hash, pepper_id, preview, scopes, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_REVOKE = """
    UPDATE auth.api_keys SET revoked_at = $4
    WHERE user_id = $1 AND org_id = $2 AND id = $3 AND revoked_at IS NULL RETURNING id
"""
_USE = """
    UPDATE auth.api_keys SET last_used_at = $2
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)
"""


async def insert(
    conn: asyncpg.Connection,
    *,
    org: UUID,
    user: UUID,
    name: str,
    hash_: bytes,
    pepper_id: str,
    preview: str,
    scopes: Sequence[str] | None,
    created_at: datetime,
    expires_at: datetime | None,
) -> UUID:
    key = uuid7()
    await conn.execute(_INSERT, key, org, user, name, hash_, pepper_id, preview, scopes, created_at, expires_at)
    return key


async def find(conn: asyncpg.Connection, user: UUID, org: UUID, key: UUID) -> Key | None:
    row = await conn.fetchrow(_FIND, user, org, key)
    return Key(**row) if row else None


async def page(conn: asyncpg.Connection, user: UUID, org: UUID, *, limit: int, offset: int) -> tuple[list[Key], int]:
    """One page, the newest first, and how many there are in all."""
    rows = await conn.fetch(_LIST, user, org, limit, offset)
    return [Key(**row) for row in rows], await conn.fetchval(_COUNT, user, org)


async def revoke(conn: asyncpg.Connection, user: UUID, org: UUID, key: UUID, now: datetime) -> bool:
    return await conn.fetchval(_REVOKE, user, org, key, now) is not None


async def resolve(conn: asyncpg.Connection, hash_: bytes, now: datetime) -> Key | None:
    """The live key with this hash. Its use is noted at most once a minute."""
    row = await conn.fetchrow(_RESOLVE, hash_, now)
    if row is None:
        return None
    used_before = now - _USED_AT_MOST_EVERY
    if row["last_used_at"] is None or row["last_used_at"] <= used_before:
        await conn.execute(_USE, row["id"], now, used_before)
    return Key(**row)
