"""aiohttp's server with what an internet-facing one needs: bounds, and parser errors in the envelope."""

import asyncio

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from common.http1.cork import Cork
from common.http_server import Server
from edge.connection import ClientConnection
from edge.handler import Handler
from edge.policies.doors import Doors

HEADER_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100


class _Server(Server):
    def __call__(self) -> web.RequestHandler:
        return ClientConnection(self, loop=self._loop, **self._kwargs)


def create_server(handler: Handler, doors: Doors, *, keep_alive_seconds: float) -> web.Server:
    """Raises RuntimeError when aiohttp would fall back to its slow parser."""
    if HttpRequestParser is HttpRequestParserPy:
        raise RuntimeError("aiohttp's C parser is not available on this platform")
    return _Server(
        handler,
        handler.unreadable,
        doors=doors,
        cork=Cork(asyncio.get_running_loop()),
        handler_cancellation=True,  # client gone: the task ends, and with it the upstream's connection
        keepalive_timeout=keep_alive_seconds,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
        auto_decompress=False,  # bodies pass as they are
        access_log=None,
    )
