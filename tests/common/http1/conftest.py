"""Every test of the client leg runs on asyncio's own loop and on uvloop, and must leave nothing open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from aiohttp.test_utils import TestServer

from common.http1 import Pool
from tests.common.http1.scripted import Script, Upstream, echo_application


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[[Script], Awaitable[Upstream]]]:
    """`await upstream(script)` starts a server; what its script raises fails the test."""
    started: list[Upstream] = []

    async def start(script: Script) -> Upstream:
        started.append(Upstream(script))
        await started[-1].start()
        return started[-1]

    yield start
    for server in started:
        await server.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Pool]]:
    """`connect(url, ...)` makes a pool; when the test ends nothing of it may be in flight."""
    pools: list[Pool] = []

    def make(url: str, **options: Any) -> Pool:
        pools.append(Pool(url, **options))
        return pools[-1]

    yield make
    for pool in pools:
        assert pool.in_flight == 0
        async with asyncio.timeout(2):
            await pool.close()
        assert (pool.in_flight, pool.idle) == (0, 0)


@pytest.fixture
async def real() -> AsyncIterator[str]:
    """The URL of an aiohttp server: echo_application."""
    server = TestServer(echo_application())
    await server.start_server()
    yield f"http://127.0.0.1:{server.port}"
    await server.close()
