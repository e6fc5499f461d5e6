"""Appending to the feed, and reading it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg

Kind = Literal["session", "key", "user", "version"]

# Sequence numbers are drawn in one order and committed in another; a reader that has seen 8 would never look for 7.
# Whoever draws one holds this lock until its commit, so numbers become visible in order. Held for one statement:
# `append` is the last thing a transaction does.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('auth.revocations', 0))"
_APPEND = """
    INSERT INTO auth.revocations (kind, subject, expires_at)
    SELECT $1, subject, $3 FROM unnest($2::uuid[]) AS subject
    RETURNING seq
"""
# One statement, one snapshot: `latest` never runs ahead of the rows.
_READ = """
    WITH newest AS (SELECT coalesce(max(seq), 0) AS latest FROM auth.revocations)
    SELECT newest.latest, r.seq, r.kind, r.subject, r.before, r.expires_at
    FROM newest LEFT JOIN auth.revocations r ON r.seq > $1 AND r.expires_at > $3
    ORDER BY r.seq LIMIT $2
"""


async def append(conn: asyncpg.Connection, kind: Kind, subjects: Sequence[UUID], expires_at: datetime) -> int:
    """Ends `subjects` for everyone once the transaction commits; the highest seq, 0 for no subjects.

    `expires_at`: when nothing that it ends would be valid any more by itself.
    """
    if not subjects:
        return 0
    await conn.execute(_LOCK)
    rows = await conn.fetch(_APPEND, kind, subjects, expires_at)
    newest: int = max(row["seq"] for row in rows)
    return newest


async def read(conn: asyncpg.Connection, after: int, limit: int, now: datetime) -> tuple[int, list[dict[str, Any]]]:
    """The newest seq and, in order, at most `limit` items beyond `after` that still matter."""
    rows = await conn.fetch(_READ, after, limit, now)
    items = [
        {
            "seq": row["seq"],
            "kind": row["kind"],
            "subject": row["subject"],
            "before": row["before"],
            "expires_at": int(row["expires_at"].timestamp()),
        }
        for row in rows
        if row["seq"] is not None
    ]
    return rows[0]["latest"], items
