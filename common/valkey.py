"""The service's Valkey (or Redis) client: wake-ups and readiness. Nothing that must not be lost lives there."""

from collections.abc import AsyncIterator, Callable

from aiohttp import web
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

VALKEY: web.AppKey[Redis] = web.AppKey("valkey", Redis)


def connect(url: str, *, timeout_seconds: float = 1.0) -> Redis:
    """One client per process. It does not retry: callers have a fall-back and know what a repeat would do."""
    return Redis.from_url(
        url,
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
