"""Replicas of one service: real servers that can be killed and come back where they were."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from edge.entries import UpstreamEntry
from edge.upstream.upstream import Upstream

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Replica:
    """Answers 200 with its name; `handle` may say otherwise. `seen` holds the method and path of every request."""

    def __init__(self, name: str, handle: Handle | None = None) -> None:
        self.name = name
        self.handle = handle
        self.seen: list[str] = []
        self.port = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> int:
        """Without health checks."""
        return sum(not line.endswith("/healthz") for line in self.seen)

    async def start(self) -> "Replica":
        self._runner = web.ServerRunner(web.Server(self._answer, handler_cancellation=True), shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def kill(self) -> None:
        """As seen from outside a kill -9: nobody listens, and every connection is reset."""
        runner, self._runner = self._runner, None
        if runner is not None:
            for site in list(runner.sites):
                await site.stop()
            for connection in runner.server.connections if runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        if self.handle is not None:
            return await self.handle(request)
        return web.Response(text=self.name)


@contextlib.asynccontextmanager
async def replicas(*handles: Handle | None) -> AsyncIterator[list[Replica]]:
    started = [Replica(f"r{number}", handle) for number, handle in enumerate(handles)]
    try:
        for replica in started:
            await replica.start()
        yield started
    finally:
        for replica in started:
            await replica.kill()


@contextlib.asynccontextmanager
async def balancing(servers: list[Replica], **fields: object) -> AsyncIterator[Upstream]:
    """An upstream over `servers` that is looked after, as in a worker."""
    entry = UpstreamEntry.model_validate({"servers": [server.url for server in servers], **fields})
    upstream = Upstream("it", entry)
    upstream.start({})
    try:
        yield upstream
    finally:
        await upstream.close()


async def get(upstream: Upstream, target: bytes = b"/", **options: object) -> str:
    response = await upstream.request("GET", target, [], **options)  # type: ignore[arg-type]
    return (await response.read(1000)).decode()


async def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def tables(servers: list[Replica], more: str = "", route: str = "") -> str:
    urls = ", ".join(f'"{server.url}"' for server in servers)
    return (
        f"[upstream.it]\nservers = [{urls}]\n{more}\n\n"
        f'[[route]]\npath = "/"\nupstream = "it"\nauth = "none"\nlimits = []\n{route}\n'
    )
