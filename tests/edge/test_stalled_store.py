"""An edge whose store has stalled: it holds connections and answers nothing."""

import signal
import time
from pathlib import Path

from aiohttp import web

from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.store_server import Server


async def test_after_the_first_timeout_a_stalled_store_costs_a_request_nothing(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    async def ok(_request: web.BaseRequest) -> web.Response:
        return web.Response()

    upstream = await start_upstream(ok)
    routes = table(upstream, "/limited", limits='["general"]') + table(upstream, "/free").partition("\n\n")[2]
    server = Server(tmp_path)
    server.start()
    try:
        edge = await start_edge(routes, REDIS_URL=server.url, LIMIT_GENERAL="300/60")
        server.send(signal.SIGSTOP)
        assert await timed(edge, "/limited") > 0.1  # the one that notices
        free, limited = [], []
        for _ in range(299):  # in turn, so that a busy machine slows both
            free.append(await timed(edge, "/free"))
            limited.append(await timed(edge, "/limited"))
        assert sorted(limited)[295] - sorted(free)[295] <= 0.005
        async with edge.client.get("/limited") as response:
            assert response.status == 429  # and the limit holds
    finally:
        server.stop()


async def timed(edge: Edge, path: str) -> float:
    began = time.perf_counter()
    async with edge.client.get(path) as response:
        assert response.status == 200
    return time.perf_counter() - began
