"""One pipelined connection to the store: packed commands out, replies back in order.

redis-py's pipeline costs about 20 µs for each command of a batch, this about 4; every request passes here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import hiredis
from redis.asyncio import Redis, SSLConnection

# Takes the replies to one batch (errors as values), or None when the connection was lost before all had come.
Receiver = Callable[[list[Any] | None], None]
_NO_REPLY = object()
_LATE_SECONDS = 0.01


def pack(*arguments: str | bytes | int) -> bytes:
    """One command as the store reads it (RESP)."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub allows one argument only
    return packed


class WireError(Exception):
    """The store cannot be used: refused, lost, stalled, or it answered with an error."""


class Wire(asyncio.Protocol):
    """A connection on which batches follow one another without waiting; a batch unanswered for too long ends it."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()  # asked for each time, it costs a system call before Python 3.12
        self.now = self._loop.time
        self._reader = hiredis.Reader(notEnoughData=_NO_REPLY)
        self._in_flight: deque[tuple[float, int, Receiver]] = deque()  # when sent, replies expected, who takes them
        self._replies: list[Any] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._reason = "connection closed by the store"
        self.on_lost: Callable[[str, bool], None] | None = None  # told why, and whether batches were lost with it

    @property
    def is_open(self) -> bool:
        """Whether batches can be sent."""
        return self._transport is not None

    def send(self, packed: bytes, expected: int, receiver: Receiver) -> None:
        """Write commands that have `expected` replies; `receiver` is called exactly once, never from within this."""
        if self._transport is None:
            raise WireError(self._reason)
        now = self.now()
        self._in_flight.append((now, expected, receiver))
        self._transport.write(packed)
        if self._timer is None:
            self._arm(now + self._timeout_seconds)

    async def exchange(self, packed: bytes, expected: int) -> list[Any]:
        """Send commands and wait for their replies, errors as values. Raises WireError when not all of them come."""
        answered: asyncio.Future[list[Any] | None] = self._loop.create_future()
        self.send(packed, expected, lambda replies: None if answered.done() else answered.set_result(replies))
        replies = await answered
        if replies is None:
            raise WireError(self._reason)
        return replies

    async def ask(self, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        """Send commands and wait for their replies. Raises WireError, also when a reply is an error."""
        replies = await self.exchange(b"".join(pack(*command) for command in commands), len(commands))
        if error := next((reply for reply in replies if isinstance(reply, Exception)), None):
            raise WireError(str(error))
        return replies

    def close(self, reason: str) -> None:
        """Drop the connection at once; what is in flight is lost. Nothing happens when it is closed already."""
        if self._transport is None:
            return
        transport, self._transport = self._transport, None
        self._reason = reason
        transport.abort()
        self._lose()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NO_REPLY:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self.close(f"the store speaks no RESP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return  # our own close() has told everyone
        self._transport = None
        if exc is not None:
            self._reason = str(exc)
        self._lose()

    def _take(self, reply: Any) -> None:
        if not self._in_flight:
            return  # closed by a receiver while this data was being read
        self._replies.append(reply)
        _, expected, receiver = self._in_flight[0]
        if len(self._replies) == expected:
            self._in_flight.popleft()
            replies, self._replies = self._replies, []
            receiver(replies)

    def _lose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost, self._in_flight = self._in_flight, deque()
        if self.on_lost is not None:
            self.on_lost(self._reason, bool(lost))
        for _, _, receiver in lost:
            receiver(None)

    def _arm(self, due: float) -> None:
        self._timer_due = due
        self._timer = self._loop.call_at(due, self._watch)

    def _watch(self) -> None:
        """End a stalled connection; one timer serves all batches."""
        self._timer = None
        if not self._in_flight:
            return
        now = self.now()
        due = self._in_flight[0][0] + self._timeout_seconds
        if now - self._timer_due > _LATE_SECONDS:
            due = now + self._timeout_seconds  # it was this process that stalled: the replies may lie unread
        if due <= now:
            self.close("no answer in time")
        else:
            self._arm(due)


async def open_wire(client: Redis, timeout_seconds: float, address: tuple[str, int] | None = None) -> Wire:
    """Connect where `client` connects (TCP, TLS or Unix socket; its credentials and database), or so to `address`.

    Raises OSError, WireError; the caller bounds the time.
    """
    pool, loop = client.connection_pool, asyncio.get_running_loop()
    settings = pool.connection_kwargs

    def protocol() -> Wire:
        return Wire(timeout_seconds)

    if address is None and (path := settings.get("path")):
        _, wire = await loop.create_unix_connection(protocol, path)
    else:
        template = pool.make_connection()  # type: ignore[no-untyped-call]
        ssl = template.ssl_context.get() if isinstance(template, SSLConnection) else None
        host, port = address or (settings.get("host", "localhost"), settings.get("port", 6379))
        _, wire = await loop.create_connection(protocol, host, port, ssl=ssl)
    try:
        if credentials := _credentials(settings):
            await wire.ask(("AUTH", *credentials))
        if database := settings.get("db"):
            await wire.ask(("SELECT", database))
    except BaseException:
        wire.close("not opened")
        raise
    return wire


def _credentials(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(value for value in (settings.get("username"), settings.get("password")) if value)
