"""A process's Valkey (or Redis) client: wake-ups, readiness, limits. Nothing that must not be lost lives there."""

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

VALKEY: web.AppKey[Redis] = web.AppKey("valkey", Redis)


def connect(url: str, *, timeout_seconds: float = 1.0) -> Redis:
    """One client per process of the server at `url` (redis://, rediss://, unix://). It connects when first used.

    It does not retry: after a lost answer only the caller knows what a repeat would do, and every caller has a
    fall-back.
    """
    return Redis.from_url(
        url,
        protocol=2,  # spoken by every Valkey and Redis, and one round trip less when connecting
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


def context(url: str) -> Callable[[web.Application], AsyncIterator[None]]:
    """A cleanup context that fills VALKEY."""

    async def open_and_close(app: web.Application) -> AsyncIterator[None]:
        app[VALKEY] = connect(url)
        yield
        await app[VALKEY].aclose()

    return open_and_close
