"""Every answer leaves, in the order of the requests, also those that wait to leave together with others."""

import asyncio
import re

from aiohttp import web

from edge.answer import Answered
from edge.policies.doors import Doors
from edge.server import create_server
from tests.edge.conftest import StartEdge, StartUpstream, table


async def hello(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def test_answer_to_a_declined_upgrade_leaves_before_that_of_the_request_behind_it(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello), "/there"))
    upgrade = b"GET /there HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    raw = await edge.raw(upgrade + b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+) ", raw) == [b"200", b"404"]


class Slow:
    """Answers together with others, when it is told to."""

    def __init__(self) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> Answered:
        self.reached.set()
        await self.go_on.wait()
        assert request.protocol.send_soon(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]
        return Answered(status=200, keep_alive=True)

    unreadable = __call__


async def test_answer_of_a_server_that_shuts_down_meanwhile_is_sent() -> None:
    slow = Slow()
    doors = Doors(connections_max=8, per_address_max=8, header_seconds=5, is_trusted=lambda _: False)
    server = create_server(slow, doors, keep_alive_seconds=5)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with asyncio.timeout(5), listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await slow.reached.wait()
        server.pre_shutdown()
        slow.go_on.set()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await server.shutdown()
