"""One connection to an upstream, carrying one request at a time."""

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, cast

from common.http1.answer import UNTIL_CLOSE, AnswerParser
from common.http1.errors import BadAnswer, FirstByteTimeout, IdleTimeout, UpstreamClosed
from common.http1.response import Body, Response
from common.http1.timeouts import Deadline, Timeouts
from common.http1.upload import Upload, slices

if TYPE_CHECKING:
    from common.http1.pool import Pool

# What a connection is doing.
OPENING, IDLE, AWAITING, STREAMING, UPGRADED, CLOSED = range(6)
ANSWERING = (AWAITING, STREAMING)


class Connection(asyncio.Protocol):
    """A keep-alive connection. Its pool opens it; `exchange` carries one request; any fault closes it for good."""

    __slots__ = (
        "_answer",
        "_body",
        "_deadline",
        "_is_open",
        "_leftover",
        "_loop",
        "_pool",
        "_reading_paused",
        "_state",
        "_timeouts",
        "_transport",
        "_unsent",
        "_upload",
        "_waiter",
        "_writing_paused",
    )
    _transport: asyncio.Transport
    _timeouts: Timeouts

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._state = OPENING
        self._is_open = self._reading_paused = self._writing_paused = False
        self._answer = AnswerParser()
        self._deadline = Deadline(self._loop, self._deadline_passed)
        self._waiter: asyncio.Future[Response] | None = None  # the request whose answer's head is not here
        self._body: Body | None = None  # the answer's, when it did not come whole with the head
        self._upload: Upload | None = None
        self._leftover: list[bytes] = []
        self._unsent = b""

    # --- the request -------------------------------------------------------------------------------------------

    async def exchange(
        self,
        head: bytes,
        body: bytes | AsyncIterable[bytes] | None,
        body_length: int | None,
        head_only: bool,
        timeouts: Timeouts,
    ) -> Response:
        """Sends `head` (a small body may be part of it), then `body`; returns when the answer's head is here.

        Cancelled, it closes the connection. Raises UpstreamError, InvalidRequest (the body is not `body_length` bytes),
        or what `body` raises.
        """
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._state = AWAITING
        self._timeouts = timeouts
        self._answer.begin(head_only)
        if body is None:
            self._unsent = head
            self._pool.cork.hold(self)
            self._deadline.set(timeouts.first_byte)
        else:
            self._transport.write(head)
            self._send(body, body_length)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        finally:
            del waiter  # it keeps its error, whose traceback keeps this frame

    def flush(self) -> None:
        """Writes the head, when its turn of the loop is over."""
        unsent, self._unsent = self._unsent, b""
        if self._state != CLOSED and unsent:
            self._transport.write(unsent)

    def _abandon(self, waiter: "asyncio.Future[Response]") -> None:
        if self._waiter is waiter:
            self.close()
        elif not waiter.cancelled() and waiter.exception() is None:
            waiter.result().close()  # it came in the same turn as the cancellation

    def _send(self, body: bytes | AsyncIterable[bytes], length: int | None) -> None:
        self._upload = Upload(self._transport, self._watch, self.fail)
        if self._writing_paused:
            self._upload.pause()
        if isinstance(body, bytes):
            self._upload.start(slices(body), len(body))
        else:
            self._upload.start(body, length)
        self._watch()

    def _stop_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.stop()

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._upload is not None:
            self._upload.pause()

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._upload is not None:
            self._upload.resume()

    # --- the answer --------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._unsent or self._state not in ANSWERING:
            return self._uncalled_for(data)
        answer = self._answer
        try:
            answer.feed(data)
        except BadAnswer as error:
            return self.fail(error)
        if answer.is_complete:
            self._complete(answer)
        elif answer.leftover is not None:
            self._upgrade(answer.leftover)
        elif answer.status:
            self._body_arrived(answer)
        elif answer.interim_answers:
            answer.interim_answers = 0
            self._watch()
        return None

    def _complete(self, answer: AnswerParser) -> None:
        chunks, body = answer.chunks, self._body
        is_sent = not self._writing_paused and (self._upload is None or self._upload.is_sent)
        is_reusable = answer.keep_alive and is_sent and not answer.has_surplus
        if body is not None:
            body.end()
            body.feed(chunks)
        elif not self._hand_over(Response(answer.status, answer.reason, answer.headers, b"".join(chunks))):
            return
        if chunks:
            chunks.clear()
        if is_reusable:
            self.release()
        else:
            self.close()

    def _hand_over(self, response: Response) -> bool:
        """Gives the waiting request its answer; when it was cancelled, closes the connection and returns False."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self.close()
            return False
        waiter.set_result(response)
        return True

    def _body_arrived(self, answer: AnswerParser) -> None:
        body = self._body
        if body is None:
            body = Body(self, self._loop)
            if not self._hand_over(Response(answer.status, answer.reason, answer.headers, None, body)):
                return
            self._body = body
            self._state = STREAMING
            if answer.status >= 300:  # a lower one may go on while the request does: an upstream works on a stream
                self._refuse_rest(answer)
        self._watch()
        if answer.chunks:
            body.feed(answer.chunks)
            answer.chunks.clear()

    def _refuse_rest(self, answer: AnswerParser) -> None:
        """A redirect or an error before the request had ended: the upstream does not want the rest (RFC 9112 §9.5)."""
        if self._writing_paused or (self._upload is not None and not self._upload.is_sent):
            self._stop_upload()
            answer.keep_alive = False

    def _upgrade(self, leftover: bytes) -> None:
        answer, body = self._answer, Body(self, self._loop)
        if self._hand_over(Response(answer.status, answer.reason, answer.headers, None, body)):
            self._body = body
            self._state = UPGRADED
            self._leftover.append(leftover)
            self._stop_upload()
            self._deadline.clear()
            self._transport.pause_reading()

    def _uncalled_for(self, data: bytes) -> None:
        if self._state == UPGRADED:
            self._leftover.append(data)  # read before the pause
        else:  # also before its request has left: whatever this answers, it is not that
            self._lost()

    # --- what the reader of the body asks ----------------------------------------------------------------------

    def pause(self) -> None:
        self._reading_paused = True
        self._watch()
        self._transport.pause_reading()

    def resume(self) -> None:
        self._reading_paused = False
        if self._state == STREAMING:
            self._transport.resume_reading()
            self._watch()

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        self._leave()
        self._pool.lost(self)
        return self._transport, b"".join(self._leftover)

    # --- its life ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._is_open = True
        if self._state == CLOSED:  # given up while it opened
            self._transport.abort()

    def is_ready(self) -> bool:
        """Whether an idle connection may be given a request."""
        return not self._transport.is_closing() and not self._deadline.has_passed()

    @property
    def is_closed(self) -> bool:
        return self._state == CLOSED

    def release(self) -> None:
        """It is free: the pool may give it to another request."""
        self._body = None
        if self._upload is not None:
            self._stop_upload()  # all is sent; its source had not ended yet
        self._state = IDLE
        self._deadline.set(self._pool.idle_seconds)
        self._pool.released(self)

    def eof_received(self) -> None:
        if self._state == STREAMING and self._answer.framing == UNTIL_CLOSE and self._body is not None:
            self._body.end()
            self.close()
        else:
            self._lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._lost()
        self._is_open = False
        self._pool.lost(self)

    def _lost(self) -> None:
        begun = self._answer.has_begun
        where = "in the middle of its answer" if begun else "without answering"
        self.fail(UpstreamClosed(f"the upstream closed the connection {where}", answer_begun=begun))

    def fail(self, error: BaseException) -> None:
        """Closes the connection and tells whoever waits for it why."""
        waiter, body = self._waiter, self._body
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        elif body is not None:
            body.end(error)

    def close(self) -> None:
        """Closes the connection at once, whatever it was doing."""
        if self._state == CLOSED:
            return
        self._leave()
        if self._is_open:
            self._transport.abort()
        else:
            self._pool.lost(self)

    def _leave(self) -> None:
        was_idle = self._state == IDLE
        self._state = CLOSED
        self._waiter = self._body = None
        self._stop_upload()
        self._answer.end()
        self._deadline.end()
        self._pool.left(self, was_idle)

    def _watch(self) -> None:
        """Sets the deadline for what the upstream owes now; what its source or its reader owe is not its fault."""
        upload = self._upload
        if self._reading_paused:
            self._deadline.clear()
        elif upload is None or upload.is_sent:
            self._deadline.set(self._timeouts.idle if self._state == STREAMING else self._timeouts.first_byte)
        elif upload.is_blocked:
            self._deadline.set(self._timeouts.idle)
        else:
            self._deadline.clear()

    def _deadline_passed(self) -> None:
        upload, timeouts = self._upload, self._timeouts
        if self._state == IDLE:
            self.close()
        elif upload is not None and not upload.is_sent:
            if upload.is_moving():
                self._deadline.set(timeouts.idle)
            else:
                self.fail(IdleTimeout(f"the upstream took no byte of the request for {timeouts.idle} s"))
        elif self._state == STREAMING:
            self.fail(IdleTimeout(f"no byte of the answer for {timeouts.idle} s"))
        else:
            self.fail(FirstByteTimeout(f"no answer within {timeouts.first_byte} s"))
