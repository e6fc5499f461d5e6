"""Sessions, and the record of sign-ins."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from auth_service.accounts import store as accounts
from auth_service.accounts.models import Account
from auth_service.visitors import Visitor
from common.ids import uuid7

ABSOLUTE = timedelta(days=30)

# Opens a session only while the password is still the one that was verified. FOR SHARE waits for a change under way:
# either the change sees this session and ends it, or this finds a different hash and opens none.
_OPEN = """
    WITH opened AS (
        INSERT INTO auth.sessions
            (id, user_id, org_id, created_at, last_used_at, expires_at, idle_expires_at, address, agent)
        SELECT $1, u.id, $4, $5, $5, $6, $7, $8, $9
        FROM auth.users u WHERE u.id = $2 AND u.password_hash = $3 AND u.is_active FOR SHARE
        RETURNING id, user_id
    )
    INSERT INTO auth.login_events (id, at, user_id, result, address, agent)
    SELECT $10, $5, user_id, 'succeeded', $8, $9 FROM opened
    RETURNING user_id
"""
_RECORD_FAILURE = """
    INSERT INTO auth.login_events (id, at, user_id, result, address, agent) VALUES ($1, $2, $3, 'failed', $4, $5)
"""

# Generation n becomes n + 1, for one caller only however many bring token n at once.
_ROTATE = """
    UPDATE auth.sessions
    SET generation = generation + 1, last_used_at = $3, idle_expires_at = least($4, expires_at)
    WHERE id = $1 AND generation = $2 AND revoked_at IS NULL AND idle_expires_at > $3
    RETURNING id
"""
_FIND = f"""
    SELECT a.*, s.generation, s.revoked_at IS NULL AND s.idle_expires_at > $2 AS is_live
    FROM auth.sessions s
    JOIN ({accounts.ACCOUNT} WHERE u.is_active) a ON a.id = s.user_id AND a.org = s.org_id
    WHERE s.id = $1
"""  # noqa: S608 - a constant of ours
_REVOKE = """
    UPDATE auth.sessions SET revoked_at = $2, reason = $3
    WHERE id = ANY($1) AND revoked_at IS NULL RETURNING id, user_id
"""
_REVOKE_OTHERS = """
    UPDATE auth.sessions SET revoked_at = $3, reason = $4
    WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL RETURNING id
"""
_PURGE = "DELETE FROM auth.sessions WHERE expires_at < $1"


@dataclass(frozen=True, slots=True)
class Session:
    """`generation` is the newest refresh token's."""

    account: Account
    generation: int
    is_live: bool


async def open_session(
    conn: asyncpg.Connection, account: Account, password_hash: str, visitor: Visitor, *, now: datetime, idle: timedelta
) -> UUID | None:
    """A new session and the record of its sign-in; None when the password or the user has changed meanwhile."""
    session, expires_at = uuid7(), now + ABSOLUTE
    opened = await conn.fetchval(
        _OPEN,
        session,
        account.id,
        password_hash,
        account.org,
        now,
        expires_at,
        min(now + idle, expires_at),
        visitor.address,
        visitor.agent,
        uuid7(),
    )
    return session if opened else None


async def record_failure(conn: asyncpg.Connection, user: UUID | None, visitor: Visitor, now: datetime) -> None:
    await conn.execute(_RECORD_FAILURE, uuid7(), now, user, visitor.address, visitor.agent)


async def rotate(conn: asyncpg.Connection, session: UUID, generation: int, now: datetime, idle: timedelta) -> bool:
    """Makes the next generation if `generation` is the newest and the session lives; whether it did."""
    return await conn.fetchval(_ROTATE, session, generation, now, now + idle) is not None


async def find(conn: asyncpg.Connection, session: UUID, now: datetime) -> Session | None:
    """None also for a user who was disabled or left the organization."""
    row = await conn.fetchrow(_FIND, session, now)
    return Session(accounts.account(row), row["generation"], row["is_live"]) if row else None


async def revoke(conn: asyncpg.Connection, sessions: list[UUID], now: datetime, reason: str) -> dict[UUID, UUID]:
    """Session → user of those that ended by this."""
    return {row["id"]: row["user_id"] for row in await conn.fetch(_REVOKE, sessions, now, reason)}


async def revoke_others(
    conn: asyncpg.Connection, user: UUID, current: UUID | None, now: datetime, reason: str
) -> list[UUID]:
    """All of the user's sessions but `current`."""
    return [row["id"] for row in await conn.fetch(_REVOKE_OTHERS, user, current, now, reason)]


async def purge(conn: asyncpg.Connection, now: datetime) -> None:
    """Sessions past their absolute end."""
    await conn.execute(_PURGE, now)
