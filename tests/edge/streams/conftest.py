"""What lasts, on both kinds of loop: a relay stands or falls with how a loop's transports behave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.edge.conftest import Edge, StartEdge, table
from tests.edge.streams.wire import Joined, Peer, Server, StartServer

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Workers use uvloop where it is to be had, and asyncio's own loop elsewhere."""
    del config, item
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start_server(start_raw_upstream: Callable[..., Any]) -> AsyncIterator[StartServer]:
    """Starts WebSocket servers whose connections are the test's: see `Server`."""
    started: list[Server] = []

    async def start(**options: bytes) -> tuple[str, Server]:
        started.append(Server(**options))
        return await start_raw_upstream(started[-1].serve), started[-1]

    yield start
    for server in started:
        await server.close()


@pytest.fixture
async def join() -> AsyncIterator[Joined]:
    joined = Joined()
    yield joined
    await joined.close()


@pytest.fixture
async def pair(start_edge: StartEdge, start_server: StartServer, join: Joined) -> tuple[Edge, Peer, Peer]:
    """An edge with a client and a server joined through it."""
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true"))
    return edge, await join(edge), await server.peer()
