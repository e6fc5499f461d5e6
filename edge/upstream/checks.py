"""Looks after an upstream's servers: asks for their health, and lets those that are out come back by themselves.

With `health` in the table every server is asked at its interval, the first time at once. Without, nobody asks a server
that works; one that was ejected is asked for a connection before it is given a request again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import uniform

import structlog

from common.http1 import Timeouts, UpstreamError
from edge.entries import HealthEntry
from edge.upstream.balancer import Balancer
from edge.upstream.server import OUT_SECONDS_MAX, Server

log = structlog.get_logger()
_CONNECT_SECONDS = 5.0
_BODY_BYTES_MAX = 64 * 1024
_HEADERS = [(b"User-Agent", b"gatehouse-health"), (b"Accept", b"*/*"), (b"Connection", b"close")]


class Checks:
    def __init__(self, balancer: Balancer, health: HealthEntry | None, clock: Callable[[], float]) -> None:
        self._balancer = balancer
        self._health = health
        self._clock = clock
        self._seconds_max = min(health.interval, OUT_SECONDS_MAX) if health else OUT_SECONDS_MAX

    async def follow(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for server in self._balancer.servers:
                group.create_task(self._look_after(server))

    async def _look_after(self, server: Server) -> None:
        if self._health is None:
            await server.fell.wait()
        while True:
            if server.out is not None:
                await asyncio.sleep(server.out_seconds)
            try:
                fault = await self._fault(server)
                self._balancer.checked(server, self._clock(), fault=fault, seconds_max=self._seconds_max)
            except Exception:
                log.exception("check_failed", upstream=self._balancer.name, server=server.url)
            await self._next(server)

    async def _next(self, server: Server) -> None:
        """Waits for the next check's time, or until the server is out."""
        # Workers and edges started together need not ask together.
        seconds = self._health.interval * uniform(0.9, 1.0) if self._health else None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await server.fell.wait()

    async def _fault(self, server: Server) -> str | None:
        """What is wrong with the server, in a few words; None when it may have requests."""
        try:
            if self._health is None:
                await server.pool.warm(_CONNECT_SECONDS)
                return None
            async with asyncio.timeout(self._health.timeout):
                return await _ask(server, self._health)
        except TimeoutError:
            return f"{self._health.path} did not answer in time" if self._health else "no connection"
        except UpstreamError as error:
            return str(error)


async def _ask(server: Server, health: HealthEntry) -> str | None:
    """On a connection of its own: a server that lets old ones live but accepts no more is not well."""
    pool = server.open_pool(server.url, 1)
    timeouts = Timeouts(connect=health.timeout, first_byte=health.timeout, idle=health.timeout)
    try:
        response = await pool.request("GET", health.path.encode(), _HEADERS, timeouts=timeouts)
        await response.read(_BODY_BYTES_MAX)
    finally:
        await pool.close()
    return None if 200 <= response.status < 300 else f"{health.path} answered {response.status}"
