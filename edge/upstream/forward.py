"""Sends a request to its upstream and names what can go wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from common import http1
from common.errors import (
    ApiError,
    BadGateway,
    BadRequest,
    GatewayTimeout,
    PayloadTooLarge,
    RequestTimeout,
    ServiceUnavailable,
)
from common.http1 import Response
from edge.exchange import Exchange
from edge.upstream.headers import request_headers
from edge.upstream.upstream import Upstream

# A body this small is read whole before an upstream hears of it: one write, and a stale connection costs nothing.
_WHOLE_BYTES_MAX = 64 * 1024
_BYTES_PER_SECOND_MIN = 512
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Forwarding:
    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def send(self, exchange: Exchange, withheld: frozenset[bytes] = frozenset()) -> Response:
        """The head of the upstream's answer; the client's headers in `withheld` (lower-case) do not go there.

        Raises BadGateway, GatewayTimeout or ServiceUnavailable for the upstream's faults, BadRequest,
        RequestTimeout or PayloadTooLarge for the client's.
        """
        route = exchange.route
        assert route is not None
        upstream = self._upstreams[route.upstream]
        body, length = await _body(exchange)
        exchange.sent = time.perf_counter()
        try:
            response = await upstream.request(
                exchange.method,
                _target(exchange),
                request_headers(exchange, upstream.service_key, withheld),
                body,
                timeouts=route.timeouts,
                body_length=length,
                retries=route.retries,
            )
            exchange.upstream_seconds = time.perf_counter() - exchange.sent
            return response
        except http1.UpstreamError as error:
            upstream.failed(error)
            raise _named(upstream.name, error) from error
        except http1.InvalidRequest as error:
            raise BadRequest("The request cannot be forwarded", detail=str(error)) from error


def _named(upstream: str, error: http1.UpstreamError) -> ApiError:
    if isinstance(error, http1.PoolExhausted):
        return ServiceUnavailable(f"Too many requests are waiting for {upstream}", detail=str(error))
    if isinstance(error, http1.ConnectTimeout | http1.FirstByteTimeout | http1.IdleTimeout):
        return GatewayTimeout(f"{upstream} took too long to answer", detail=repr(error))
    return BadGateway(f"{upstream} could not be reached", detail=repr(error))


def _target(exchange: Exchange) -> bytes:
    assert exchange.route is not None
    path = exchange.path
    if exchange.route.rewrite is not None:
        path = rewritten(exchange.route.rewrite, exchange.route.path, path)
    return (f"{path}?{exchange.query}" if exchange.query else path).encode("latin-1", "replace")


def rewritten(rewrite: str, prefix: str, path: str) -> str:
    """`path` with `rewrite`, which has no slash at its end, in place of the route's `prefix`."""
    return rewrite + path[len(prefix.rstrip("/")) :] or "/"


async def _body(exchange: Exchange) -> tuple[bytes | AsyncIterator[bytes] | None, int | None]:
    """The body as the client leg takes it: whole when it is small, else a stream with its length when known."""
    request = exchange.request
    if not request.body_exists:
        return None, None
    assert exchange.route is not None
    length, bytes_max = request.content_length, exchange.route.body_bytes_max
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    if "Expect" in request.headers:
        _expect(exchange)
    if request.content.is_eof() and request.content.exception() is None:
        return _arrived(request.content, bytes_max)
    if request.content.is_eof() or (length is not None and length <= _WHOLE_BYTES_MAX):
        body = b"".join([chunk async for chunk in _chunks(request, bytes_max, exchange.route.timeouts.idle)])
        return body, len(body)
    return _chunks(request, bytes_max, exchange.route.timeouts.idle), length


def _arrived(content: StreamReader, bytes_max: int) -> tuple[bytes, int]:
    """A body that is here already, as most are: nothing to wait for and no time to limit."""
    body = content.read_nowait()
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body, len(body)


def _expect(exchange: Exchange) -> None:
    if exchange.request.version < HttpVersion11:
        return  # RFC 9110 section 10.1.1: ignored, since such a client knows no 100
    if exchange.request.headers["Expect"].lower() != "100-continue":
        raise BadRequest("Only `Expect: 100-continue` is understood")
    if exchange.request.transport is not None and not exchange.request.content.is_eof():
        exchange.request.transport.write(_CONTINUE)


async def _chunks(request: web.BaseRequest, bytes_max: int, idle_seconds: float) -> AsyncIterator[bytes]:
    size, started = 0, time.monotonic()
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                chunk = await request.content.readany()
        except TimeoutError:
            raise RequestTimeout from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            error.__traceback__ = None  # the body that keeps it is in there
            raise BadRequest("The request body is malformed", detail=repr(error)) from error
        if not chunk:
            return
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        # A client that drips byte by byte would hold an upstream's connection for ever.
        elapsed = time.monotonic() - started
        if elapsed > idle_seconds and size < elapsed * _BYTES_PER_SECOND_MIN:
            raise RequestTimeout
        yield chunk


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"Request body is larger than {bytes_max} bytes")
