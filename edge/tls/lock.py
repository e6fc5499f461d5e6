"""One order at a time for each name, over all workers and nodes; kept in Valkey, with a term and with fencing."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis import RedisError
from redis.asyncio import Redis

# One hash tag for all: a cluster keeps lock and what it guards on one node, where one script can look at both.
PREFIX = "{gatehouse:acme}:"
# Longer than an order may take (`ordering.SECONDS_MAX`): a holder that dies keeps the others waiting no longer.
TERM_SECONDS = 180

# KEYS: lock, what is written. ARGV: who asks, value, milliseconds to live. 1 when written.
_WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Hold:
    """What whoever holds the lock may write. A holder that slept over its term writes nothing any more."""

    def __init__(self, redis: Redis, key: str, holder: str) -> None:
        self._redis = redis
        self._key = key
        self._holder = holder

    async def write(self, key: str, value: bytes, seconds: float) -> bool:
        """Whether it was written: False when the lock is somebody else's by now. Raises RedisError."""
        arguments = (self._holder, value, max(1, int(seconds * 1000)))
        return bool(await self._redis.eval(_WRITE, 2, self._key, key, *arguments))

    async def release(self) -> None:
        await self._redis.eval(_RELEASE, 1, self._key, self._holder)


@asynccontextmanager
async def held(redis: Redis, name: str, term_seconds: float = TERM_SECONDS) -> AsyncIterator[Hold | None]:
    """None when another has it. Raises RedisError when that cannot be known."""
    key, holder = f"{PREFIX}lock:{name}", secrets.token_hex(16)
    if not await redis.set(key, holder, nx=True, px=int(term_seconds * 1000)):
        yield None
        return
    hold = Hold(redis, key, holder)
    try:
        yield hold
    finally:
        with suppress(RedisError):  # its term ends it
            await hold.release()
