"""Growing waits after failures, counted per address and per (identifier, address).

Never per identifier alone: then anyone could lock anyone out. The attempt is counted *before* the secret is compared,
so that parallel guesses cannot all slip through before the first has failed.
"""

import hashlib
import hmac
import math
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog

from auth_service.derivation import derive
from auth_service.visitors import Visitor
from common.errors import TooManyRequests
from common.postgres import Database

log = structlog.get_logger()
# Failures 1 to 4 impose no wait, failure n >= 5 one of min(2^(n-5), 900) s; 12 h without failure forget them all.
# clock_timestamp(), because now() is when the transaction began, before it waited for the row.
# Rows come in the order of their keys, as everywhere in this file, so that two calls never wait for each other.
_RESERVE = """
    INSERT INTO auth.attempts AS a (key, failures, last_at, blocked_until, prior_until)
    SELECT key, 1, clock_timestamp(), '-infinity', '-infinity' FROM unnest($1::bytea[]) AS key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET (failures, last_at, blocked_until, prior_until) = (
        SELECT n, at, CASE WHEN n >= 5 THEN at + least(power(2, least(n - 5, 10)), 900) * interval '1 second'
                           ELSE '-infinity' END, a.blocked_until
        FROM (SELECT clock_timestamp() AS at,
                     CASE WHEN a.last_at < clock_timestamp() - interval '12 hours' THEN 1 ELSE a.failures + 1 END AS n
             ) AS next
    )
    WHERE a.blocked_until <= clock_timestamp()
    RETURNING key, last_at
"""
_WAIT = (
    "SELECT extract(epoch FROM max(blocked_until) - clock_timestamp())::float8 FROM auth.attempts WHERE key = ANY($1)"
)
# An address keeps the failures of others; whoever knew the secret starts afresh.
_REFUND_ADDRESS = """
    UPDATE auth.attempts SET
        failures = greatest(failures - 1, 0),
        blocked_until = CASE WHEN last_at = $2 THEN prior_until ELSE blocked_until END
    WHERE key = $1
"""
_FORGET = "DELETE FROM auth.attempts WHERE key = $1"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One attempt, counted as failed until it is refunded."""

    address_key: bytes
    pair_key: bytes
    address_at: datetime


class Guard:
    """One counter for every way to try a user's secrets."""

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._key = derive(secret, "attempts")

    async def reserve(self, identifier: str, visitor: Visitor) -> Reservation:
        """Counts one attempt, for an existing `identifier` or not. Raises TooManyRequests while a wait lasts."""
        # "a" before "p": the address first, always.
        address_key, pair_key = self._digest("a", visitor.network), self._digest("p", visitor.network, identifier)
        keys = [address_key, pair_key]
        try:
            async with self._database.transaction() as conn:
                counted = await _count(conn, keys)
        except _Blocked:
            log.warning("login_throttled", address=visitor.address)
            raise TooManyRequests(await self._wait_seconds(keys)) from None
        return Reservation(address_key, pair_key, counted[address_key])

    async def refund(self, conn: asyncpg.Connection, reservation: Reservation) -> None:
        """The secret was right."""
        await conn.execute(_REFUND_ADDRESS, reservation.address_key, reservation.address_at)
        await conn.execute(_FORGET, reservation.pair_key)

    async def _wait_seconds(self, keys: list[bytes]) -> int:
        async with self._database.connection() as conn:
            seconds = await conn.fetchval(_WAIT, keys)
        return math.ceil(seconds) if seconds is not None and math.isfinite(seconds) else 1

    def _digest(self, kind: str, *parts: str) -> bytes:
        """The table must not tell who was tried from where."""
        text = "\0".join(parts).encode("utf-8", "replace")
        return kind.encode() + hmac.digest(self._key, kind.encode() + text, hashlib.sha256)[:16]


class _Blocked(Exception):
    """Undoes, with its transaction, what was counted for the keys that are not blocked."""


async def _count(conn: asyncpg.Connection, keys: list[bytes]) -> dict[bytes, datetime]:
    counted = {row["key"]: row["last_at"] for row in await conn.fetch(_RESERVE, keys)}
    if len(counted) < len(keys):
        raise _Blocked
    return counted
