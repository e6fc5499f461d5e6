"""aiohttp's server with what an internet-facing one needs: bounds, and parser errors in the envelope."""

from typing import Any

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from common.http_server import Connection, Server
from edge.answer import Answered
from edge.handler import Handler

KEEP_ALIVE_SECONDS = 75.0
HEADER_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
_LINGER_SECONDS = 2.0  # how long an early answer waits for the rest of the body, so that the client can read it


class _Connection(Connection):
    """One client connection."""

    __slots__ = ()

    def handle_error(self, request: web.BaseRequest, *_: Any, **__: Any) -> Any:
        """Only reached by a fault of ours after which nobody knows what was written: never a second answer."""
        if request.transport is not None:
            request.transport.abort()
        return Answered(status=500, keep_alive=False)


class _Server(Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def create_server(handler: Handler) -> web.Server:
    """Raises RuntimeError when aiohttp would fall back to its slow parser."""
    if HttpRequestParser is HttpRequestParserPy:
        raise RuntimeError("aiohttp's C parser is not available on this platform")
    return _Server(
        handler,
        handler.unreadable,
        handler_cancellation=True,  # client gone: the task ends, and with it the upstream's connection
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
        lingering_time=_LINGER_SECONDS,
        auto_decompress=False,  # bodies pass as they are
        access_log=None,
    )
