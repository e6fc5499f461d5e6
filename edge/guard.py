"""What a client may cost before it has asked for anything: connections, and time and bytes for a request's head.

aiohttp's parser bounds each field and their number, and its protocol the idle time. Here are the bounds it lacks: a
deadline for the head from its first byte (slow clients), a size for all of it, few pipelined requests, caps on
connections. What is refused is answered in the envelope. A connection has one timer, which rings for whichever is due.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo

from common.errors import ApiError, HeadersTooLarge, RequestTimeout, ServiceUnavailable
from common.http_server import Connection
from edge.policies.doors import REFUSED_SECONDS, Doors

HEAD_BYTES_MAX = 64 * 1024
_PIPELINED_MAX = 8  # read ahead while one is being served; then the socket waits
_PIECES_MAX = 64


class GuardedConnection(Connection):
    """Holds a client to its bounds while it sends; what it has asked for is served by the class below."""

    __slots__ = ("_doors", "_head_bytes", "_is_doomed", "_refusal", "_subject")

    def __init__(self, manager: web.Server, *, doors: Doors, **options: Any) -> None:
        super().__init__(manager, **options)
        self._doors = doors
        self._head_bytes = 0  # of a head that has begun to arrive
        self._is_doomed = False  # a refusal is queued: what comes is not looked at
        self._refusal: ServiceUnavailable | None = None
        self._subject = ""
        self._max_msg_queue_size = _PIPELINED_MAX
        self._msg_queue_resume_size = _PIPELINED_MAX // 2

    # --- connections -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        doors = self._doors
        try:
            self._subject = doors.enter(transport.get_extra_info("peername"))
        except ServiceUnavailable as refusal:
            self._turn_away(refusal)
        else:
            self._close_within(doors.header_seconds)

    def _turn_away(self, refusal: ServiceUnavailable) -> None:
        self._refusal = refusal
        self._close = True  # nothing of it is parsed
        may_stay = self._doors.may_stay_refused()
        self._doors.refused_open += 1
        if may_stay:
            self._close_within(REFUSED_SECONDS)
        elif self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._refusal is None:
            self._doors.leave(self._subject)
        else:
            self._doors.refused_open -= 1
        super().connection_lost(exc)

    # --- time --------------------------------------------------------------------------------------------------

    def _close_within(self, seconds: float) -> None:
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        at = self._next_keepalive_close_time = self._loop.time() + seconds
        self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)

    def _process_keepalive(self) -> None:
        is_due = self._loop.time() >= self._next_keepalive_close_time
        if is_due and self._head_bytes and self._waiter is not None:
            self._keepalive_handle = None
            self._refuse(RequestTimeout())
        else:
            super()._process_keepalive()

    # --- bytes -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        messages = self._messages
        queued = len(messages)
        super().data_received(data)
        is_plain = (
            len(messages) > queued
            and messages[-1][0].__class__ is RawRequestMessage
            and not self._head_bytes
            and len(data) <= HEAD_BYTES_MAX
        )
        if not is_plain:
            self._inspect(data, has_grown=len(messages) > queued)

    def _inspect(self, data: bytes, *, has_grown: bool) -> None:
        """Everything but whole heads that came in one piece: bodies, parts of heads, faults."""
        if self._is_doomed:
            return
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif has_grown and isinstance(self._messages[-1][0], _ErrInfo):
            self._fault(data)
        elif has_grown:
            if self._head_bytes + len(data) > HEAD_BYTES_MAX and not all(
                _is_small(message) for message, _ in self._messages
            ):
                self._messages.clear()
                self._refuse(HeadersTooLarge())
            self._head_bytes = 0
        elif self._awaits_head() and (self._head_bytes or data.strip(b"\r\n")):
            self._head_arrives(len(data))

    def _awaits_head(self) -> bool:
        if self._waiter is not None:
            return True
        body = self._arriving_body()
        return body is not None and body.is_eof()

    def _arriving_body(self) -> StreamReader | None:
        """The body of the request that came last; None when that is served and only its rest is thrown away."""
        if self._messages:
            return self._messages[-1][1]
        return self._current_request.content if self._current_request is not None else None

    def _head_arrives(self, size: int) -> None:
        seconds = self._doors.header_seconds
        if self._waiter is not None and self._next_keepalive_close_time > self._loop.time() + seconds:
            self._close_within(seconds)
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(HeadersTooLarge())

    def _refuse(self, error: ApiError) -> None:
        """The last answer on this connection, in its turn."""
        self._is_doomed = True
        self._messages.append((_ErrInfo(error.status, error, error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- faults ------------------------------------------------------------------------------------------------

    def _fault(self, data: bytes) -> None:
        """The parser has given up, in a body or in a head. Whoever reads that body hears of it here alone.

        Requests that stand whole before the fault in the same bytes are lost with the parser: they are read again.
        """
        self._is_doomed = True
        fault: Any = self._messages.pop()
        fault[0].exc.__traceback__ = None  # the frame that keeps it is in there
        body = self._arriving_body()
        if body is not None and not body.is_eof():
            body.set_exception(RequestPayloadError("the body is malformed"))
        elif body is None and self._waiter is not None and not self._head_bytes:
            self._messages.extend(self._before_fault(data))
        self._messages.append(fault)

    def _before_fault(self, data: bytes) -> Sequence[tuple[Any, StreamReader]]:
        found: list[tuple[Any, StreamReader]] = []
        parser: Any = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
        )
        self._parser = parser  # bodies ask their protocol's parser to pause
        start = pieces = 0
        while start < len(data) and pieces < _PIECES_MAX:
            end = data.find(b"\r\n\r\n", start) + 4
            end = len(data) if end < 4 else end
            try:
                found += parser.feed_data(data[start:end])[0]
            except HttpProcessingError:
                break
            start, pieces = end, pieces + 1
        if found and not found[-1][1].is_eof():
            found[-1][1].set_exception(RequestPayloadError("the body is malformed"))
        return found


def _is_small(message: Any) -> bool:
    if message.__class__ is not RawRequestMessage:
        return True
    return sum(len(name) + len(value) + 4 for name, value in message.raw_headers) <= HEAD_BYTES_MAX
