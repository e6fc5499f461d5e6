"""What has expired is removed, and next month's partitions are made, once an hour by whichever worker comes first."""

import asyncio

import structlog

from auth_service.clock import Clock
from auth_service.sessions import store as sessions
from common.errors import ServiceUnavailable
from common.postgres import Database

log = structlog.get_logger()
_PAUSE_SECONDS = 3600.0
_RETRY_SECONDS = 60.0

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('auth.housekeeping', 0))"
_ROLL_EVENTS = "SELECT auth.roll_login_events()"
_PURGE_ATTEMPTS = "DELETE FROM auth.attempts WHERE last_at < now() - interval '12 hours' AND blocked_until < now()"
# The newest line stays even when expired: followers compare their position with it.
_PURGE_REVOCATIONS = """
    DELETE FROM auth.revocations WHERE expires_at < $1 AND seq < (SELECT max(seq) FROM auth.revocations)
"""


async def tidy(database: Database, clock: Clock) -> None:
    """One round; nothing while another worker is at it."""
    async with database.transaction() as conn:
        if await conn.fetchval(_LOCK):
            await conn.execute(_ROLL_EVENTS)
            await sessions.purge(conn, clock())
            await conn.execute(_PURGE_ATTEMPTS)
            await conn.execute(_PURGE_REVOCATIONS, clock())


async def run(database: Database, clock: Clock) -> None:
    """Rounds for ever."""
    while True:
        pause = _PAUSE_SECONDS
        try:
            await tidy(database, clock)
        except ServiceUnavailable:
            pause = _RETRY_SECONDS
        except Exception:
            log.exception("housekeeping_failed")
        await asyncio.sleep(pause)
