"""An edge whose REDIS_URL leads to a cluster."""

import asyncio
from pathlib import Path

from aiohttp import web

from tests.cluster_nodes import Nodes
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

LOGIN = "/api/v1/auth/login"


async def test_limits_and_bans_hold_over_edges_that_know_one_node_each(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=401 if request.path == LOGIN else 200)

    upstream = await start_upstream(refuse)
    routes = (
        table(upstream, "/", limits='["general"]') + table(upstream, LOGIN, counts_for_ban="true").partition("\n\n")[2]
    )
    nodes = Nodes(tmp_path)
    try:
        nodes.start()
        environ = {"TRUSTED_PROXIES": "127.0.0.1", "LIMIT_GENERAL": "10/60", "BAN_FAILURES": "3"}
        edges = [await start_edge(routes, REDIS_URL=server.url, **environ) for server in nodes.servers]
        for last in range(1, 6):  # several addresses: their keys are spread over the nodes
            burst = await asyncio.gather(*(get(edges[i % 3], f"203.0.113.{last}") for i in range(30)))
            assert sorted(burst) == [200] * 10 + [429] * 20
        assert [await get(edge, "198.51.100.1", LOGIN) for edge in edges] == [401] * 3
        async with asyncio.timeout(10):
            while [await get(edge, "198.51.100.1") for edge in edges] != [403] * 3:
                await asyncio.sleep(0.05)
    finally:
        nodes.stop()


async def get(edge: Edge, address: str, path: str = "/") -> int:
    async with edge.client.get(path, headers={"X-Forwarded-For": address}) as response:
        return response.status
