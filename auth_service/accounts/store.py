"""Users, their organizations and memberships. Functions take a connection; services open the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from auth_service.accounts.addresses import normalize
from auth_service.accounts.models import Account, Registration
from common.errors import Conflict
from common.ids import uuid7

_CONFLICTS = {
    "users_email_key": "Email is already registered",
    "users_username_key": "Username is already taken",
}

# A user as a member of one organization; nobody is anything without one.
ACCOUNT = """
    SELECT u.id, u.email, u.username, u.full_name, u.version, u.is_verified, u.created_at, u.updated_at,
           m.org_id AS org, m.role, o.tier
    FROM auth.users u
    JOIN auth.memberships m ON m.user_id = u.id
    JOIN auth.organizations o ON o.id = m.org_id
"""
_BY_ID = f"{ACCOUNT} WHERE u.id = $1 AND m.org_id = $2 AND u.is_active"

# What a sign-in needs, in one look: disabled users too, because they must cost the same.
_CREDENTIAL = f"""
    SELECT a.*, u.password_hash, u.is_active
    FROM auth.users u
    JOIN ({ACCOUNT}) a ON a.id = u.id AND a.org = u.current_org_id
    WHERE u.email_normalized = $1
"""  # noqa: S608 - a constant of ours

_INSERT_ORGANIZATION = "INSERT INTO auth.organizations (id, name, kind) VALUES ($1, $2, $3)"
_INSERT_USER = """
    INSERT INTO auth.users (id, email, email_normalized, username, full_name, password_hash, current_org_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_INSERT_MEMBERSHIP = "INSERT INTO auth.memberships (org_id, user_id, role) VALUES ($1, $2, $3)"
_TAKEN = """
    SELECT CASE WHEN email_normalized = $1 THEN 'users_email_key' ELSE 'users_username_key' END
    FROM auth.users WHERE email_normalized = $1 OR lower(username) = lower($2) ORDER BY 1 LIMIT 1
"""
_UPDATE_PROFILE = """
    UPDATE auth.users SET
        username = CASE WHEN $2 THEN $3 ELSE username END,
        full_name = CASE WHEN $4 THEN $5 ELSE full_name END,
        updated_at = now()
    WHERE id = $1
"""
# Only while the hash is still the one that was verified: two changes at once must not both succeed.
_UPDATE_PASSWORD = """
    UPDATE auth.users SET password_hash = $3, updated_at = now()
    WHERE id = $1 AND password_hash = $2 AND is_active RETURNING id
"""  # noqa: S105 - a statement, not a password
_PASSWORD = "SELECT email, email_normalized, username, full_name, password_hash FROM auth.users WHERE id = $1"  # noqa: S105 - as above
_PERSONAL = """
    SELECT o.id FROM auth.organizations o JOIN auth.memberships m ON m.org_id = o.id
    WHERE m.user_id = $1 AND o.kind = 'personal'
"""
_DELETE_EVENTS = "DELETE FROM auth.login_events WHERE user_id = $1"
_HOLD = "SELECT id FROM auth.users WHERE id = $1 FOR KEY SHARE"
_DELETE_USER = "DELETE FROM auth.users WHERE id = $1 RETURNING id"
_DELETE_ORGANIZATIONS = "DELETE FROM auth.organizations WHERE id = ANY($1)"


@dataclass(frozen=True, slots=True)
class Credential:
    """`account` may be disabled; `password_hash` is None for users who cannot sign in with one."""

    account: Account
    password_hash: str | None
    is_active: bool


@dataclass(frozen=True, slots=True)
class OwnPassword:
    """What a password change compares with."""

    identifier: str
    personal: tuple[str | None, ...]
    password_hash: str | None


def account(row: Mapping[str, Any]) -> Account:
    """An Account from a row that has its columns, among others."""
    return Account(**{name: row[name] for name in Account.__slots__})


async def find(conn: asyncpg.Connection, user: UUID, org: UUID) -> Account | None:
    row = await conn.fetchrow(_BY_ID, user, org)
    return account(row) if row else None


async def find_credential(conn: asyncpg.Connection, identifier: str) -> Credential | None:
    row = await conn.fetchrow(_CREDENTIAL, identifier)
    return Credential(account(row), row["password_hash"], row["is_active"]) if row else None


async def find_password(conn: asyncpg.Connection, user: UUID) -> OwnPassword | None:
    row = await conn.fetchrow(_PASSWORD, user)
    if row is None:
        return None
    personal = (row["email"], row["username"], row["full_name"])
    return OwnPassword(row["email_normalized"] or str(user), personal, row["password_hash"])


async def refuse_taken(conn: asyncpg.Connection, new: Registration) -> None:
    """Raises Conflict early, before a hash is spent; the constraints decide."""
    if constraint := await conn.fetchval(_TAKEN, normalize(new.email), new.username):
        raise Conflict(_CONFLICTS[constraint])


async def insert_personal(conn: asyncpg.Connection, new: Registration, password_hash: str) -> tuple[UUID, UUID]:
    """A user as admin of a new personal organization; both ids. Raises Conflict."""
    user, org = uuid7(), uuid7()
    await insert_organization(conn, org, new.full_name or new.username or "Personal", "personal")
    await insert_user(conn, user, org, new, password_hash)
    await insert_membership(conn, org, user, "admin")
    return user, org


async def insert_organization(conn: asyncpg.Connection, org: UUID, name: str, kind: str) -> None:
    await conn.execute(_INSERT_ORGANIZATION, org, name, kind)


async def insert_user(conn: asyncpg.Connection, user: UUID, org: UUID, new: Registration, password_hash: str) -> None:
    try:
        await conn.execute(
            _INSERT_USER, user, new.email, normalize(new.email), new.username, new.full_name, password_hash, org
        )
    except asyncpg.UniqueViolationError as error:
        raise _conflict(error) from None


async def insert_membership(conn: asyncpg.Connection, org: UUID, user: UUID, role: str) -> None:
    await conn.execute(_INSERT_MEMBERSHIP, org, user, role)


async def update_profile(conn: asyncpg.Connection, user: UUID, changes: Mapping[str, str | None]) -> None:
    """`changes` holds the fields to set. Raises Conflict."""
    try:
        await conn.execute(
            _UPDATE_PROFILE,
            user,
            "username" in changes,
            changes.get("username"),
            "full_name" in changes,
            changes.get("full_name"),
        )
    except asyncpg.UniqueViolationError as error:
        raise _conflict(error) from None


async def update_password(conn: asyncpg.Connection, user: UUID, old_hash: str, new_hash: str) -> bool:
    """False when the password was changed meanwhile."""
    return await conn.fetchval(_UPDATE_PASSWORD, user, old_hash, new_hash) is not None


async def hold(conn: asyncpg.Connection, user: UUID) -> bool:
    """Keeps the user from being deleted until the transaction ends; False when there is none.

    Whoever adds rows that name user and organization takes the user first, as `delete` does: so no two deadlock.
    """
    return await conn.fetchval(_HOLD, user) is not None


async def delete(conn: asyncpg.Connection, user: UUID) -> bool:
    """The user with everything of theirs: memberships, sessions and keys go by cascade. False when already gone."""
    personal = [row["id"] for row in await conn.fetch(_PERSONAL, user)]
    is_deleted = await conn.fetchval(_DELETE_USER, user) is not None
    await conn.execute(_DELETE_ORGANIZATIONS, personal)
    await conn.execute(_DELETE_EVENTS, user)
    return is_deleted


def _conflict(error: asyncpg.UniqueViolationError) -> Conflict:
    return Conflict(_CONFLICTS.get(error.constraint_name or "", ""))
