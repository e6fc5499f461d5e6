"""Writes answers to the client: the edge's own, and an upstream's as it arrives.

Bytes go straight to the transport. `web.Response` would cost more than everything else the edge does to a small
answer, and would parse and build again what is already there.
"""

import asyncio
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn, cast

from aiohttp import web

from common import json
from common.errors import ApiError, envelope, openai_envelope
from common.http1 import Response
from common.runtime import Runtime
from edge.exchange import Exchange
from edge.identity.caller import Header
from edge.policies.cors import Cors
from edge.policies.limiting import limit_headers
from edge.policies.security_headers import SECURITY_LINES
from edge.upstream.answer_headers import passing_down
from edge.upstream.headers import find

if TYPE_CHECKING:
    from edge.connection import ClientConnection

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_REASONS[421] = b"Misdirected Request"
_IDLE_SECONDS = 60.0
_SWITCHING = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
_UNBUFFERED = (b"X-Accel-Buffering", b"no")  # nginx in front passes each event on as it comes
_JSON: list[Header] = [(b"Content-Type", b"application/json")]


class Answered:
    """How a request ended. Where aiohttp wants a response object, this tells it that the answer has been written."""

    __slots__ = ("keep_alive", "status")

    def __init__(self, *, status: int, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive

    async def prepare(self, _request: web.BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None


class ClientGone(ConnectionError):
    """The client closed its connection before it had its answer."""


class Answers:
    """Everything the edge adds to an answer is added here, on 2xx, 4xx and 5xx alike."""

    def __init__(self, cors: Cors, runtime: Runtime) -> None:
        self._cors = cors
        self._runtime = runtime
        self._date_second = 0
        self._date = b""

    async def own(self, exchange: Exchange, status: int, body: bytes, headers: Sequence[Header] = ()) -> None:
        """An answer made by the edge."""
        bodiless = status == 204 or exchange.method == "HEAD"
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(body)
        head = self._head(exchange, status, _REASONS.get(status, b""), list(headers), length)
        await _write(exchange, head if bodiless else head + body)
        exchange.bytes_sent = 0 if bodiless else len(body)

    async def json(self, exchange: Exchange, status: int, body: object, headers: Sequence[Header] = ()) -> None:
        await self.own(exchange, status, json.dumps(body), [*_JSON, *headers])

    async def error(self, exchange: Exchange, error: ApiError) -> None:
        """The envelope, or OpenAI's shape where the route speaks that."""
        if exchange.route is not None and exchange.route.speaks_openai:
            body = openai_envelope(error)
        else:
            body = envelope(error, method=exchange.method, path=exchange.path, request_id=exchange.request_id)
        headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
        if error.status == 401:
            headers.append((b"WWW-Authenticate", b"Bearer"))  # RFC 9110 section 15.5.2 asks for a challenge
        await self.json(exchange, error.status, body, headers)

    async def relay(self, exchange: Exchange, response: Response) -> None:
        """An upstream's answer: in one write when it is all here, else as it arrives, at the client's pace."""
        headers = self._client_headers(exchange, response)
        whole = response.complete
        if exchange.method == "HEAD" or response.status in (204, 304):
            length = find(response.headers, b"content-length")
            framing = b"" if length is None or response.status == 204 else b"Content-Length: %b\r\n" % length
            await _write(exchange, self._head(exchange, response.status, response.reason, headers, framing))
        elif whole is not None:
            framing = b"Content-Length: %d\r\n" % len(whole)
            head = self._head(exchange, response.status, response.reason, headers, framing)
            exchange.bytes_sent = len(whole)
            if not exchange.keep_alive or not _send_soon(exchange, head + whole):
                await _write(exchange, head + whole)
        else:
            await self._stream(exchange, response, headers)

    def switch(self, exchange: Exchange, response: Response) -> None:
        """The upstream's 101; from here on the connection is no HTTP. Raises ClientGone."""
        headers = self._client_headers(exchange, response)
        if exchange.handshake and exchange.handshake.has_credential and not find(headers, b"sec-websocket-protocol"):
            headers.append((b"Sec-WebSocket-Protocol", b"bearer"))  # a browser insists on one of those it offered
        head = self._head(exchange, 101, b"Switching Protocols", headers, _SWITCHING)
        exchange.keep_alive = False
        _send(exchange, head)

    async def end_early(self, exchange: Exchange, response: Response) -> None:
        """Ends a stream that may last no longer: cleanly if it is one of events, which its reader opens again.

        Of anything else the client must see that it is not the whole: raises ClientGone, its connection is cut.
        """
        if not is_event_stream(response) or find(response.headers, b"content-length") is not None:
            _cut(exchange)
        if exchange.request.version >= (1, 1):
            await _write(exchange, b"0\r\n\r\n")

    async def _stream(self, exchange: Exchange, response: Response, headers: list[Header]) -> None:
        length = find(response.headers, b"content-length")
        chunked = length is None and exchange.request.version >= (1, 1)
        if length is not None:
            framing = b"Content-Length: %b\r\n" % length
        else:
            framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
            exchange.keep_alive = exchange.keep_alive and chunked
        if is_event_stream(response):
            headers.append(_UNBUFFERED)
        await _write(exchange, self._head(exchange, response.status, response.reason, headers, framing))
        protocol = exchange.request.protocol
        async for chunk in response:
            exchange.bytes_sent += len(chunk)
            _send(exchange, b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if protocol.writing_paused:
                await _drained(exchange)
        if chunked:
            await _write(exchange, b"0\r\n\r\n")

    def _client_headers(self, exchange: Exchange, response: Response) -> list[Header]:
        headers = passing_down(exchange, response.headers)
        rules = exchange.route.response_rules if exchange.route else None
        return headers if rules is None else rules.apply(headers)

    def _head(self, exchange: Exchange, status: int, reason: bytes, headers: list[Header], framing: bytes) -> bytes:
        exchange.status = status
        # Decided now, not when the request came: a worker may have begun to retire meanwhile, and what is left of a
        # request body is not worth reading only to keep the connection.
        exchange.keep_alive = exchange.keep_alive and not self._runtime.retiring and exchange.request.content.is_eof()
        lines = [b"%b: %b\r\n" % header for header in headers]
        if self._cors.is_configured:
            lines += [b"%b: %b\r\n" % header for header in self._cors.headers(exchange)]
        if not any(header[0] == b"Date" for header in headers):
            lines.append(self._date_line())
        if exchange.decision is not None:
            lines.append(limit_headers(exchange.decision))
        return b"HTTP/1.1 %d %b\r\n%b%bX-Request-ID: %b\r\n%b%b\r\n" % (
            status,
            reason,
            b"".join(lines),
            exchange.route.security if exchange.route else SECURITY_LINES,
            exchange.request_id.encode(),
            framing,
            _connection_line(exchange),
        )

    def _date_line(self) -> bytes:
        now = int(time.time())
        if now != self._date_second:
            self._date_second = now
            self._date = b"Date: %b\r\n" % formatdate(now, usegmt=True).encode()
        return self._date


def is_event_stream(response: Response) -> bool:
    kind = find(response.headers, b"content-type")
    return kind is not None and kind.partition(b";")[0].strip().lower() == b"text/event-stream"


def _connection_line(exchange: Exchange) -> bytes:
    if not exchange.keep_alive:
        return b"Connection: close\r\n" if exchange.status != 101 else b""
    return b"" if exchange.request.version >= (1, 1) else b"Connection: keep-alive\r\n"


def _send_soon(exchange: Exchange, answer: bytes) -> bool:
    """Raises ClientGone. False where the answer is to be written at once."""
    connection = cast("ClientConnection", exchange.request.protocol)
    if connection.transport is None or connection.transport.is_closing():
        raise ClientGone
    exchange.must_answer = not connection.send_soon(answer)
    return not exchange.must_answer


def _send(exchange: Exchange, data: bytes) -> None:
    """Raises ClientGone."""
    transport = exchange.request.transport
    if transport is None or transport.is_closing():
        raise ClientGone
    exchange.must_answer = False
    transport.write(data)


async def _write(exchange: Exchange, data: bytes) -> None:
    """Raises ClientGone. Waits while the client reads more slowly than we write."""
    _send(exchange, data)
    if exchange.request.protocol.writing_paused:
        await _drained(exchange)


async def _drained(exchange: Exchange) -> None:
    """A client that reads nothing holds an upstream's connection; after the route's idle time-out it is cut off."""
    seconds = exchange.route.timeouts.idle if exchange.route else _IDLE_SECONDS
    try:
        async with asyncio.timeout(seconds):
            await exchange.request.protocol._drain_helper()
    except TimeoutError:
        _cut(exchange)
    except ConnectionError:
        raise ClientGone from None


def _cut(exchange: Exchange) -> NoReturn:
    """Raises ClientGone."""
    if exchange.request.transport is not None:
        exchange.request.transport.abort()
    raise ClientGone from None
