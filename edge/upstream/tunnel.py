"""An upgraded connection: bytes pass both ways as they come, each side at the pace of the other."""

import asyncio

from common.http1 import Response
from common.http1.timeouts import NEVER
from common.http_server import Connection
from edge.upstream.frames import Frames, Unmasked, close_frame

GOING_AWAY = 1001  # RFC 6455 section 7.4.1
TRY_AGAIN_LATER = 1013  # IANA's WebSocket close code registry
_PROTOCOL_ERROR = 1002
# How long it may be quiet once a side has said its last: enough for what is on its way to the other.
_LEAVING_SECONDS = 0.75
_ENDING_SECONDS = 5.0  # for the rest of a frame that is on its way when the edge ends a connection
_LOOKS = 4  # at the traffic, within the time for which it may be quiet


class Tunnel:
    """Two connections joined until one of them ends, or nothing moves for `idle_seconds`."""

    def __init__(self, connection: Connection, response: Response, idle_seconds: float) -> None:
        """Takes both over: the client's, to which the 101 is written, and the upstream's, which answered it.

        Raises ConnectionError when the client is gone.
        """
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._idle_seconds = idle_seconds
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._is_leaving = False
        self._abort_at = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._traffic = 0
        self._quiet_looks = 0
        self._client, self._upstream = Side(self, is_client=True), Side(self, is_client=False)
        client, early = connection.hand_over(self._client)
        upstream, leftover = response.detach()
        upstream.set_protocol(self._upstream)
        self._client.join(client, self._upstream, upstream)
        self._upstream.join(upstream, self._client, client)
        self._client.start(early)
        self._upstream.start(leftover)
        self._watch()

    @property
    def bytes_sent(self) -> int:
        """To the client."""
        return self._upstream.received

    async def run(self) -> None:
        """Returns when both connections are closed; cancelled, closes them at once."""
        try:
            await self._ended
        finally:
            self._abort()

    def end(self, code: int) -> None:
        """Sends both a Close frame, where a frame ends, and gives them a moment to answer."""
        if self._abort_at == NEVER:
            self._abort_at = self._loop.time() + _ENDING_SECONDS
            self._client.finish(code)
            self._upstream.finish(code)
            self.leave()

    def leave(self) -> None:
        """The connection ends as soon as nothing moves any more."""
        if not self._is_leaving:
            self._is_leaving = True
            self._idle_seconds = _LEAVING_SECONDS
            self._watch()

    def lost(self, other: "Side") -> None:
        """One side is closed; `other` closes when what was written to it is sent."""
        self.leave()
        if not other.is_lost:
            other.transport.close()
            return
        self._stop_watching()
        if not self._ended.done():
            self._ended.set_result(None)
        # The server's own word for it, after the request has ended by itself.
        self._loop.call_soon(self._connection.connection_lost, None)

    def _abort(self) -> None:
        self._stop_watching()
        for side in (self._client, self._upstream):
            if not side.is_lost:
                side.transport.abort()

    # --- quiet for too long -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._stop_watching()
        self._quiet_looks = 0
        self._look_later()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._idle_seconds / _LOOKS, self._look)

    def _look(self) -> None:
        """Whether bytes have moved since the last look: to note the time of each message would cost more."""
        before, self._traffic = self._traffic, self._client.traffic() + self._upstream.traffic()
        self._quiet_looks = self._quiet_looks + 1 if self._traffic == before else 0
        if self._loop.time() >= self._abort_at or (self._is_leaving and self._quiet_looks == _LOOKS):
            self._abort()
            return
        if self._quiet_looks == _LOOKS:
            self.end(TRY_AGAIN_LATER)  # and looks again, sooner
        else:
            self._look_later()


class Side(asyncio.Protocol):
    """One of the two connections: what is read from it goes to the other."""

    __slots__ = (
        "_close_code",
        "_frames",
        "_has_ended",
        "_is_client",
        "_other",
        "_tunnel",
        "_write",
        "is_lost",
        "received",
        "transport",
    )
    transport: asyncio.Transport
    _other: "Side"

    def __init__(self, tunnel: Tunnel, *, is_client: bool) -> None:
        self.received = 0  # bytes
        self.is_lost = False
        self._tunnel = tunnel
        self._is_client = is_client
        self._frames = Frames(must_mask=is_client)
        self._write = _drop
        self._close_code = 0  # of the frame that ends what is relayed from here
        self._has_ended = False

    def join(self, transport: asyncio.Transport, other: "Side", other_transport: asyncio.Transport) -> None:
        self.transport, self._other, self._write = transport, other, other_transport.write

    def start(self, data: bytes) -> None:
        """`data` was read before the tunnel was there."""
        if data:
            self.data_received(data)
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._close_code:
            return self._relay_last(data)
        size = len(data)
        self.received += size
        frames = self._frames
        if frames.rest >= size:
            frames.rest -= size
        else:
            try:
                frames.follow(data)
            except Unmasked as error:
                return self._refuse(data[: error.offset])
        return self._write(data)

    def _refuse(self, good: bytes) -> None:
        self._write(good)
        self._frames = Frames(must_mask=False)  # we are between two frames, whatever follows
        self._tunnel.end(_PROTOCOL_ERROR)

    def pause_writing(self) -> None:
        if not self._other.is_lost:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_lost:
            self._other.transport.resume_reading()

    def traffic(self) -> int:
        """A number that grows with every byte that came from here and with every one that was sent here."""
        waiting = 0 if self.is_lost else self.transport.get_write_buffer_size()
        return self.received + self._other.received - waiting

    # --- its end ------------------------------------------------------------------------------------------------

    def finish(self, code: int) -> None:
        """Relays the rest of the frame that is on its way, and a Close frame behind it."""
        self._close_code = code
        self._relay_last(b"")

    def _relay_last(self, data: bytes) -> None:
        frames = self._frames
        last = data[: frames.rest]
        self.received += len(last)
        self._write(last)
        frames.rest -= len(data)
        if frames.rest <= 0:
            if not frames.in_head and not frames.has_closed:
                self._write(close_frame(self._close_code, masked=self._is_client))
            self._write, frames.rest = _drop, 0

    def eof_received(self) -> bool:
        """The other side hears of it and may still say its last. TLS knows no such half."""
        self._has_ended, self._write = True, _drop
        self._tunnel.leave()
        other = self._other
        if (
            other.is_lost
            or other._has_ended
            or not (self.transport.can_write_eof() and other.transport.can_write_eof())
        ):
            return False  # closes this side, and with it the other
        other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.is_lost, self._write = True, _drop
        self._tunnel.lost(self._other)


def _drop(data: bytes) -> None:
    """Where bytes go that nobody may get any more."""
