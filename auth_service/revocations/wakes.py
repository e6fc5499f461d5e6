"""Tells edges that the feed has grown. They would notice within a second anyway, so a lost message costs little."""

import asyncio

import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()
CHANNEL = "gatehouse:revocations"


class Wakes:
    """`notify` never waits: a stalled Valkey must not make a logout slow."""

    def __init__(self) -> None:
        self._newest = 0
        self._is_waiting = asyncio.Event()

    def notify(self, seq: int) -> None:
        """Call after the commit. 0 is nothing to tell."""
        if seq:
            self._newest = max(self._newest, seq)
            self._is_waiting.set()

    async def run(self, valkey: Redis) -> None:
        """Publishes for ever; several notifications while one is on its way are one message."""
        while True:
            await self._is_waiting.wait()
            self._is_waiting.clear()
            try:
                await valkey.publish(CHANNEL, self._newest)
            except (RedisError, OSError) as error:
                log.warning("revocation_wake_failed", reason=type(error).__name__)


WAKES: web.AppKey[Wakes] = web.AppKey("wakes", Wakes)
