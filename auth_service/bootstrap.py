"""The first admin, for a database that has no user yet. Used by the command line, not by the service."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from auth_service import passwords
from auth_service.accounts import store as accounts
from auth_service.accounts.models import Registration
from auth_service.keys import store as keys
from auth_service.keys.pepper import Pepper
from common import api_keys
from common.ids import uuid7
from common.permissions import SYSTEM_ORGANIZATION

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('auth.bootstrap', 0))"
_ANY_USER = "SELECT EXISTS (SELECT FROM auth.users)"
_ANY_SYSTEM = "SELECT EXISTS (SELECT FROM auth.organizations WHERE id = $1)"


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """Shown once: only hashes are stored."""

    email: str
    password: str
    api_key: str


async def ensure_admin(dsn: str, *, pepper: str, email: str) -> FirstAdmin | None:
    """Makes the system organization, its first admin and a key named "first key"; None when users exist already.

    `pepper` is KEY_PEPPER. Raises pydantic's ValidationError for an `email` that is none.
    """
    connection = await asyncpg.connect(dsn, statement_cache_size=0)  # it may lead through a pooler
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
            if await connection.fetchval(_ANY_USER):
                return None
            return await _make(connection, Pepper.of(pepper), email)
    finally:
        await connection.close()


async def _make(conn: asyncpg.Connection, pepper: Pepper, email: str) -> FirstAdmin:
    password, text, user = secrets.token_urlsafe(18), api_keys.make(), uuid7()
    admin = Registration(email=email, full_name="Administrator", password=password)
    if not await conn.fetchval(_ANY_SYSTEM, SYSTEM_ORGANIZATION):
        await accounts.insert_organization(conn, SYSTEM_ORGANIZATION, "Gatehouse", "system")
    await accounts.insert_user(conn, user, SYSTEM_ORGANIZATION, admin, passwords.standard().hash(password))
    await accounts.insert_membership(conn, SYSTEM_ORGANIZATION, user, "admin")
    await keys.insert(
        conn,
        org=SYSTEM_ORGANIZATION,
        user=user,
        name="first key",
        hash_=pepper.hash(text),
        pepper_id=pepper.id,
        preview=api_keys.preview(text),
        scopes=None,
        created_at=datetime.now(UTC),
        expires_at=None,
    )
    return FirstAdmin(email, password, text)
