"""Forgets deleted users: reads auth's revocation feed and has every module delete their rows.

How far the feed was read is stored in the transaction that deletes, so each deletion is done, whatever fails in
between; several workers may read the same entries, only one of them gets to store the step.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import aiohttp
import asyncpg
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from common import json
from common.errors import ApiError
from common.postgres import Database
from core_service.modules import Module

log = structlog.get_logger()

CHANNEL = "gatehouse:revocations"
_FEED = "auth.revocations"
_BATCH = 1000
_POLL_SECONDS = 2.0
_WAKE_RETRY_SECONDS = 1.0
# Requests of the deleted user that were under way may still write; the longest ends within this.
_REPEAT_AFTER_SECONDS = 60.0

SELECT_POSITION = "SELECT seq FROM core.feed_positions WHERE feed = $1"
START_POSITION = "INSERT INTO core.feed_positions (feed, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING"
# Nothing is updated when another worker was here first; it holds the row until its deletions are committed.
ADVANCE_POSITION = """
    UPDATE core.feed_positions SET seq = $3, updated_at = now() WHERE feed = $1 AND seq = $2 RETURNING seq
"""
REMEMBER_PURGE = """
    INSERT INTO core.recent_purges (user_id) VALUES ($1) ON CONFLICT (user_id) DO UPDATE SET purged_at = now()
"""
TAKE_REPEATS = """
    DELETE FROM core.recent_purges WHERE purged_at < now() - make_interval(secs => $1) RETURNING user_id
"""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the feed; `subject` is a user's id where `kind` is `user`: deleted."""

    seq: int
    kind: str
    subject: str


class AuthFeed:
    """`GET /internal/revocations` of the auth service."""

    def __init__(self, session: aiohttp.ClientSession, auth_url: str, service_key: str) -> None:
        self._session = session
        self._url = f"{auth_url}/internal/revocations"
        self._headers = {"Authorization": f"ApiKey {service_key}"}

    async def read(self, after: int) -> tuple[list[Revocation], int]:
        """The entries after `after`, at most 1000 in order, and the newest there is. Raises aiohttp.ClientError."""
        query = {"after": str(after), "limit": str(_BATCH)}
        async with self._session.get(self._url, params=query, headers=self._headers) as response:
            response.raise_for_status()
            data = json.loads(await response.read())["data"]
        items = [Revocation(item["seq"], item["kind"], str(item["subject"])) for item in data["items"]]
        return items, data["latest"]


class Purger:
    """One per worker. `run` goes on until it is cancelled, whatever is down."""

    def __init__(
        self,
        database: Database,
        feed: AuthFeed,
        modules: Sequence[Module],
        *,
        poll_seconds: float = _POLL_SECONDS,
        repeat_after_seconds: float = _REPEAT_AFTER_SECONDS,
    ) -> None:
        self._database = database
        self._feed = feed
        self._modules = modules
        self._poll_seconds = poll_seconds
        self._repeat_after_seconds = repeat_after_seconds
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Catches up now, on every wake-up and every two seconds."""
        while True:
            self._wake.clear()
            try:
                await self.catch_up()
                await self.repeat()
            except (ApiError, aiohttp.ClientError, OSError) as error:  # auth or the database is away; they come back
                log.warning("purge_failed", reason=f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("purge_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()

    async def listen(self, valkey: Redis) -> None:
        """Wakes `run` on every message of the channel. Without Valkey the poll alone does."""
        while True:
            try:
                await self._listen(valkey)
            except (RedisError, OSError) as error:
                log.debug("purge_wake_up_lost", reason=f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("purge_wake_ups_failed")
            await asyncio.sleep(_WAKE_RETRY_SECONDS)

    async def _listen(self, valkey: Redis) -> None:
        async with valkey.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(CHANNEL)
            while True:
                if await subscription.get_message(timeout=30):
                    self._wake.set()

    async def catch_up(self) -> None:
        """Handles every entry of the feed that nobody has handled."""
        position = await self._position()
        while True:
            items, latest = await self._feed.read(position)
            if latest < position:
                # Auth was restored from a backup and counts anew. To delete a deleted user again is harmless.
                log.warning("revocation_feed_went_back", position=position, latest=latest)
                position = await self._advance(position, 0)
                continue
            position = await self._handle(items, position)
            if len(items) < _BATCH:
                return

    async def _handle(self, items: Sequence[Revocation], position: int) -> int:
        for item in items:
            if item.kind == "user":
                position = await self._advance(position, item.seq, UUID(item.subject))
        if items and items[-1].seq > position:
            position = await self._advance(position, items[-1].seq)
        return position

    async def _position(self) -> int:
        async with self._database.connection() as connection:
            await connection.execute(START_POSITION, _FEED)
            return int(await connection.fetchval(SELECT_POSITION, _FEED))

    async def _advance(self, before: int, seq: int, deleted: UUID | None = None) -> int:
        """The position afterwards: `seq`, or where another worker has got meanwhile."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(ADVANCE_POSITION, _FEED, before, seq) is None:
                return int(await connection.fetchval(SELECT_POSITION, _FEED))
            if deleted is not None:
                await self._purge(connection, deleted)
                await connection.execute(REMEMBER_PURGE, deleted)
        if deleted is not None:
            log.info("user_purged", user_id=str(deleted), seq=seq)
        return seq

    async def repeat(self) -> None:
        """Deletes once more what requests under way have written after the first time."""
        async with self._database.transaction() as connection:
            for row in await connection.fetch(TAKE_REPEATS, self._repeat_after_seconds):
                await self._purge(connection, row["user_id"])

    async def _purge(self, connection: asyncpg.Connection, user_id: UUID) -> None:
        for module in self._modules:
            # A module that never ran here has no tables, and a savepoint keeps that from ending the transaction.
            with contextlib.suppress(asyncpg.UndefinedTableError):
                async with connection.transaction():
                    await module.purge(connection, user_id)
