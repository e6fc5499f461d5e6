"""aiohttp's server, but for what its parser refuses: the owner of the server answers that, in its own shape."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

from common.errors import ApiError, BadRequest, HeadersTooLarge

# Answers what could not be parsed. The request says nothing: its method is UNKNOWN, its path /, without headers.
Unreadable = Callable[[web.BaseRequest, ApiError], Awaitable[Any]]


class Connection(web.RequestHandler):
    """One client connection. What it cannot parse goes to `Server.unreadable`, not to aiohttp's plain text."""

    __slots__ = ()

    def _make_error_handler(self, err_info: Any) -> Callable[[web.BaseRequest], Awaitable[Any]]:
        server = self._manager
        assert isinstance(server, Server)

        async def handle(request: web.BaseRequest) -> Any:
            return await server.unreadable(request, parser_error(err_info.exc))

        return handle

    def hand_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """Gives the transport to `protocol`, together with what came behind an upgrade request and was not parsed.

        The connection is still one of its server's until the new owner tells it `connection_lost`. Raises
        ConnectionError when the client is gone.
        """
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        tail, self._message_tail = self._message_tail, b""
        self.transport.set_protocol(protocol)
        return self.transport, tail


class Server(web.Server):
    """`web.Server` that makes our connections; `options` are those of `web.Server` and `web.RequestHandler`."""

    def __init__(self, handler: Any, unreadable: Unreadable, **options: Any) -> None:
        super().__init__(handler, **options)
        self.unreadable = unreadable

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """`web.AppRunner` with our server."""

    def __init__(self, app: web.Application, unreadable: Unreadable, **options: Any) -> None:
        super().__init__(app, **options)
        self._unreadable = unreadable

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            self._unreadable,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )


def parser_error(reason: BaseException) -> ApiError:
    """What a client is told of aiohttp's complaint.

    The detail leaves out what aiohttp quotes from the request behind a colon: it may be a credential.
    """
    if isinstance(reason, ApiError):
        return reason
    complaint = str(getattr(reason, "message", "")).partition(":")[0]
    detail = f"{type(reason).__name__}: {complaint}"
    if isinstance(reason, LineTooLong) or "too many" in complaint.lower():
        return HeadersTooLarge(detail=detail)
    if isinstance(reason, BadHttpMethod):
        return BadRequest("Unknown method, or not HTTP", detail=detail)
    return BadRequest("Malformed HTTP request", detail=detail)
