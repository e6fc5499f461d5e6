"""Upstreams: a raw server that does exactly what a test's script says, however wrong, and a real one that echoes."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Peer:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ordinal: int  # of the connection, from 1

    async def head(self) -> bytes:
        """Reads one request's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", status: bytes = b"200 OK") -> None:
        await self.say(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    async def client_closes(self) -> None:
        """Returns once the client has closed its end, whatever it still sent."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Upstream:
    """A listening server; every connection runs the script, then closes."""

    script: Script
    connections: int = 0
    faults: list[BaseException] = field(default_factory=list)
    url: str = ""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(Peer(reader, writer, self.connections))
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client left; tests judge what it saw
        except Exception as error:  # noqa: BLE001 - handed to the test, which fails with it
            self.faults.append(error)
        finally:
            writer.close()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self.faults == []


async def echo(request: web.Request) -> web.StreamResponse:
    """Answers with the request's body once it has read it, in pieces with `?stream=1`."""
    body = await request.read()
    if not request.query.get("stream"):
        return web.Response(body=body, headers={"X-Method": request.method})
    response = web.StreamResponse(headers={"X-Method": request.method})
    await response.prepare(request)
    for start in range(0, len(body), 10_000):
        await response.write(body[start : start + 10_000])
    return response


async def mirror(request: web.Request) -> web.StreamResponse:
    """Answers each piece of the request's body as it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


def echo_application() -> web.Application:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/", echo)
    app.router.add_route("*", "/mirror", mirror)
    return app
