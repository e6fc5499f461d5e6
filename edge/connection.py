"""One client connection: requests one after the other, all served within the connection's own task.

aiohttp's loop gives every request a task, a writer and two more turns of the event loop, for context variables and
response objects. The edge uses neither and writes its answers itself, so it runs a shorter loop on aiohttp's parser.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import ERROR, _ErrInfo

from common.http1.cork import Cork
from edge.answer import Answered
from edge.guard import GuardedConnection
from edge.head import Head

log = structlog.get_logger()
_TOGETHER_BYTES_MAX = 64 * 1024
_LINGER_SECONDS = 2.0  # how long an early answer waits for the rest of the body, so that the client can read it


class ClientConnection(GuardedConnection):
    """Its task is cancelled when the client goes (`handler_cancellation`), and with it the request in service."""

    __slots__ = ("_cork", "_unsent", "head")

    def __init__(self, manager: web.Server, *, cork: Cork, **options: Any) -> None:
        super().__init__(manager, **options)
        self.head: Head | None = None  # of the request before
        self._cork = cork
        self._unsent = b""

    async def start(self) -> None:
        """Serves until the connection ends; called by aiohttp, once."""
        try:
            await self._serve_all()
            await self._part()
        except asyncio.CancelledError:
            # Not raised again: the task would keep it, and with its traceback the request and so itself. Such a cycle
            # for every client that leaves grows faster than it is looked for (common/worker.py).
            self.force_close()
        except Exception:
            # Nobody knows what has been written: never a second answer.
            log.exception("connection_failed")
            self.force_close()

    async def _serve_all(self) -> None:
        task = self._task_handler or asyncio.current_task()  # the latter where it starts before it is returned
        while not self._force_close:
            if self._messages:
                self.flush()  # answers leave in order
            else:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            message, body = self._messages.popleft()
            self._make_room()
            answered = await self._serve(message, body, task)
            if not body.is_eof():
                await self._linger(body)
            if not answered.keep_alive or self._close:
                self._is_doomed |= answered.status >= 400  # and whoever wrote it may still be writing
                break
            self._keep()

    async def _serve(self, message: RawRequestMessage | _ErrInfo, body: StreamReader, task: Any) -> Answered:
        assert self._manager is not None
        handler: Any = self._request_handler
        if isinstance(message, _ErrInfo):
            message, handler = ERROR, self._make_error_handler(message)
        # No writer: the edge writes to the transport.
        request = web.BaseRequest(message, body, self, None, task, self._loop)  # type: ignore[arg-type]
        self._current_request = request
        try:
            answered: Answered = await handler(request)
        finally:
            self._current_request = None
        if self._upgraded:
            # The parser has paused for another protocol, and what comes is HTTP after all: this sets it going again.
            await self.finish_response(request, answered, None)  # type: ignore[arg-type]
        return answered

    def send_soon(self, answer: bytes) -> bool:
        """Sends a whole small answer together with others; False where it is to be written at once.

        That is where a client reads more slowly than it asks, or has asked ahead: answers leave in order.
        """
        transport = self.transport
        if (
            transport is None
            or self._messages
            or len(answer) > _TOGETHER_BYTES_MAX
            or transport.get_write_buffer_size()
        ):
            return False
        self._unsent = answer
        self._cork.hold(self)
        return True

    def flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent and self.transport is not None:
            self.transport.write(unsent)

    def force_close(self) -> None:
        self.flush()
        super().force_close()

    def _make_room(self) -> None:
        """Tells the parser that it may read another pipelined request."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _part(self) -> None:
        """Closes so that the last answer can be read by a client that still sends (RFC 9112 section 9.6)."""
        self.flush()
        transport = self.transport
        if self._force_close or transport is None:
            return
        if self._is_doomed and transport.can_write_eof():
            self._close = True  # what comes is dropped
            if self._buffer_paused:
                self._resume_reading_for_buffer()
            transport.write_eof()
            await asyncio.sleep(_LINGER_SECONDS)  # cancelled when the client closes
        self._task_handler = None
        transport.close()

    async def _linger(self, body: StreamReader) -> None:
        """Reads what is left of a request's body and drops it; closes when it does not end."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not body.is_eof():
                    await body.readany()
        except (TimeoutError, HttpProcessingError, web.RequestPayloadError) as error:
            error.__traceback__ = None  # the body that keeps it is in there
            self.close()

    def _keep(self) -> None:
        """Starts the time for which the connection may stay idle; one timer serves all requests."""
        close_at = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_at, self._process_keepalive)
