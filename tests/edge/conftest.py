"""A whole edge on a free port, in front of real upstreams."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from common import settings
from common.logs import LineWriter
from common.metrics import HttpMetrics, snapshot
from common.supervisor.listeners import bind
from common.supervisor.plan import Listener
from common.supervisor.serving import TlsSite
from edge.admin.app import Admin
from edge.app import EdgeRunner
from edge.bans.ban_list import BanList
from edge.settings import EdgeSettings
from edge.table_files import TableFiles

KEYS = {"AUTH_SERVICE_KEY": "a" * 40, "CORE_SERVICE_KEY": "c" * 40}


@dataclass
class Runtime:
    """A stand-alone process of `count` workers, which tests may retire."""

    index: int = 0
    count: int = 1
    retiring: bool = False
    draining: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: HttpMetrics = field(default_factory=lambda: HttpMetrics("edge"))

    async def status(self) -> list[dict[str, object]]:
        return [{"worker": self.index, "pid": os.getpid(), "state": "ready", "restarts": 0, "started_at": 0.0}]

    async def merged_metrics(self) -> list[object]:
        return snapshot(self.metrics.registry)


@dataclass
class Edge:
    url: str
    port: int
    client: ClientSession
    runtime: Runtime
    tls_port: int = 0

    async def raw(self, request: bytes, *, seconds: float = 5) -> bytes:
        """Sends bytes as they are; everything until the edge closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        async with asyncio.timeout(seconds):
            writer.write(request)
            answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer


StartEdge = Callable[..., Awaitable[Edge]]


@pytest.fixture
async def start_edge(tmp_path: Path) -> AsyncIterator[StartEdge]:
    async with contextlib.AsyncExitStack() as stack:
        access_log = stack.enter_context((tmp_path / "access.log").open("ab"))
        lines = LineWriter(access_log.fileno())
        stack.callback(lines.flush)
        count = 0

        async def start(
            routes: str,
            runtime: Runtime | None = None,
            banned: BanList | None = None,
            admin: Admin | None = None,
            port: int = 0,
            **environ: str,
        ) -> Edge:
            nonlocal count
            count += 1
            table = tmp_path / f"routes{count}.toml"
            table.write_text(routes)
            variables = {
                "GATEHOUSE_VAR": str(tmp_path),
                "EDGE_ROUTES": str(table),
                "SHUTDOWN_SECONDS": "1",
                "EDGE_WATCH_SECONDS": "0.1",
                **KEYS,
                **environ,
            }
            loaded = settings.load(EdgeSettings, variables)
            runtime = runtime or Runtime()
            files = TableFiles(loaded, variables)
            runner = EdgeRunner(loaded, files, runtime, runtime.metrics, lines, banned=banned, admin=admin)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            port, tls_port = runner.addresses[0][1], 0
            if loaded.ends_tls:
                listening = bind(Listener("https", "127.0.0.1", 0))
                await TlsSite(runner, listening, runner.certificates.context).start()
                tls_port = listening.getsockname()[1]
            client = await stack.enter_async_context(
                ClientSession(
                    f"http://127.0.0.1:{port}",
                    cookie_jar=DummyCookieJar(),
                    auto_decompress=False,
                    skip_auto_headers=["Accept-Encoding"],
                )
            )
            return Edge(f"http://127.0.0.1:{port}", port, client, runtime, tls_port)

        yield start


Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
StartUpstream = Callable[[Handle], Awaitable[str]]


@pytest.fixture
async def start_upstream() -> AsyncIterator[StartUpstream]:
    """Starts a real HTTP server around one handler; its URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handle: Handle) -> str:
            runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield start


@pytest.fixture
async def start_raw_upstream() -> AsyncIterator[Callable[[Callable[..., Awaitable[None]]], Awaitable[str]]]:
    """Starts a server that speaks whatever bytes its script says; its URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(script: Callable[..., Awaitable[None]]) -> str:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await script(reader, writer)
                finally:
                    writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(server.close)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


def table(upstream: str, *routes: str, **options: str) -> str:
    """One upstream called `it` and one open route per path."""
    lines = [f'[upstream.it]\nservers = ["{upstream}"]\n']
    extra = "\n".join(f"{name} = {value}" for name, value in {"auth": '"none"', "limits": "[]", **options}.items())
    lines += [f'[[route]]\npath = "{path}"\nupstream = "it"\n{extra}\n' for path in routes or ("/",)]
    return "\n".join(lines)
