"""A worker's runners on the sockets its parent opened, from set-up to clean-up. (Worker side: imports aiohttp.)"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from common.supervisor.listeners import BACKLOG

_STOP_SECONDS_MAX = 5.0
_POLL_SECONDS = 0.02
_HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0


@dataclass(frozen=True)
class Tls:
    """A runner served behind TLS."""

    runner: web.BaseRunner
    context: ssl.SSLContext | None


Served = Mapping[str, web.BaseRunner | Tls]


class Serving:
    """Starts what a service built; the same runner may serve several sockets."""

    def __init__(self) -> None:
        self._runners: list[web.BaseRunner] = []

    async def start(self, served: Served, sockets: Mapping[str, socket.socket]) -> None:
        """Raises RuntimeError when the application and the check disagree about the listeners."""
        if set(served) != set(sockets):
            raise RuntimeError(f"the check listens on {sorted(sockets)}, the application serves {sorted(served)}")
        entries = {name: entry if isinstance(entry, Tls) else Tls(entry, None) for name, entry in served.items()}
        for entry in entries.values():
            if entry.runner not in self._runners:
                self._runners.append(entry.runner)  # before its set-up, which may fail half-way
                await entry.runner.setup()
        # Nothing is accepted before everything is set up.
        for name, entry in entries.items():
            await _site(entry, sockets[name]).start()

    async def stop_accepting(self) -> None:
        """Closes our copies of the listening sockets. What we have accepted stays ours."""
        for runner in self._runners:
            for site in runner.sites:
                await site.stop()

    async def finish(self, seconds: float, hastened: asyncio.Event) -> None:
        """Closes idle connections, lets requests in flight end within `seconds` (5 s once hastened), cleans up.

        `runner.cleanup()` alone would not do: it drops what still arrives of a request's body.
        """
        await self.stop_accepting()
        patience = asyncio.create_task(_patience(seconds, hastened))
        # A connection stays among these until the last byte of its answer is with the kernel.
        while (connections := self._connections()) and not patience.done():
            for conn in filter(_is_idle, connections):
                conn.force_close()
            await asyncio.wait([patience], timeout=_POLL_SECONDS)
        patience.cancel()
        self._abort()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))

    def _connections(self) -> list[web.RequestHandler]:
        return [conn for runner in self._runners if runner.server for conn in runner.server.connections]

    def _abort(self) -> None:
        """Ends the requests that would not end; their handlers are cancelled."""
        for runner in self._runners:
            if runner.server:
                runner.server.handler_cancellation = True
        for conn in self._connections():
            if conn.transport is not None:
                conn.transport.abort()


class TlsSite(web.BaseSite):
    """`web.SockSite` that waits less than asyncio's minute for a handshake, and hardly at all for a goodbye."""

    def __init__(self, runner: web.BaseRunner, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(runner, ssl_context=context, backlog=BACKLOG)
        self._sock = sock

    @property
    def name(self) -> str:
        return f"https://{self._sock.getsockname()}"

    async def start(self) -> None:
        await super().start()
        server: Any = self._runner.server
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=BACKLOG,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_GOODBYE_SECONDS,
        )


class UnixSite(web.BaseSite):
    """`web.SockSite` for a Unix socket: uvloop takes those in a method of their own."""

    def __init__(self, runner: web.BaseRunner, sock: socket.socket) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._sock = sock

    @property
    def name(self) -> str:
        return f"http://unix:{self._sock.getsockname()}:"

    async def start(self) -> None:
        await super().start()
        server: Any = self._runner.server
        loop: Any = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop):
            self._server = await loop.create_server(server, sock=self._sock, backlog=BACKLOG)
        else:
            # The path is the parent's: the workers after us go on using it.
            self._server = await loop.create_unix_server(server, sock=self._sock, backlog=BACKLOG, cleanup_socket=False)


def _site(entry: Tls, sock: socket.socket) -> web.BaseSite:
    if sock.family == socket.AF_UNIX:
        return UnixSite(entry.runner, sock)
    if entry.context is not None:
        return TlsSite(entry.runner, sock, entry.context)
    return web.SockSite(entry.runner, sock, backlog=BACKLOG)


async def _patience(seconds: float, hastened: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hastened.wait()
            await asyncio.sleep(_STOP_SECONDS_MAX)


def _is_idle(conn: web.RequestHandler) -> bool:
    """Waiting for a request's head. aiohttp asks itself the same way before a keep-alive time-out closes."""
    return conn._waiter is not None and not conn._waiter.done()
