"""The connections to one upstream: opened when needed, kept while idle, never shared by two requests at once."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.http1.connection import Connection
from common.http1.cork import Cork
from common.http1.errors import (
    BadAnswer,
    ConnectFailed,
    ConnectTimeout,
    PoolExhausted,
    UpstreamClosed,
    UpstreamError,
)
from common.http1.request import encode_framing, encode_head
from common.http1.response import Response
from common.http1.timeouts import Timeouts
from common.http1.upload import SLICE_BYTES

DEFAULT_TIMEOUTS = Timeouts()
# A connection that was closed while it idled says so within a round trip of the request. A close that comes later may
# be the end of an upstream that has read the request and worked on it.
STALE_SECONDS = 0.05
_CLOSE_SECONDS = 1.0
_HEAD = frozenset(("HEAD", b"HEAD"))
IDEMPOTENT = frozenset(  # RFC 9110 §9.2.2
    spelling
    for name in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")
    for spelling in (name, name.encode("ascii"))
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens. `path` is a Unix socket's; `authority` is what Host says by default."""

    host: str
    port: int
    authority: bytes
    path: str | None = None
    tls: bool = False


def parse_address(url: str) -> Address:
    """Reads http://host:port, https://host:port or unix:///path.sock. Raises ValueError for anything more or else."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        return Address("", 0, b"localhost", path=parts.path)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not http://host:port, https://host:port or unix:///path")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r} says more than where the upstream is")
    tls = parts.scheme == "https"
    return Address(parts.hostname, parts.port or (443 if tls else 80), parts.netloc.encode("ascii"), tls=tls)


class Pool:
    """HTTP/1.1 requests to one upstream over keep-alive connections, the last one used first.

    At most `connections_max` are open; one that stays idle for `idle_seconds` is closed. `in_flight` counts those that
    open or carry a request, `idle` those that wait for one. Upgraded connections leave both counts when detached.
    `stale_seconds` is at least one round trip to the upstream: see `request`. `server_name` is what the certificate of
    an https upstream must name where that is not the host in the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        connections_max: int = 512,
        idle_seconds: float = 15,
        stale_seconds: float = STALE_SECONDS,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self.url = url
        self.connections_max = connections_max
        self.idle_seconds = idle_seconds
        self.stale_seconds = stale_seconds
        self.in_flight = 0
        self.cork = Cork(asyncio.get_running_loop())
        self._address = parse_address(url)
        self._tls = (tls or ssl.create_default_context()) if self._address.tls else None
        self._server_name = server_name if self._address.tls else None
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def request(
        self,
        method: bytes | str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] | bytes,
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        body_length: int | None = None,
    ) -> Response:
        """Sends a request; returns when the head of its answer, interim answers skipped, is here.

        `headers`, or their lines from `encode_lines`, are complete but for framing, which is written here, and Host,
        added when absent. An iterable body is sent as `body_length` bytes exactly, chunked when None.

        When a pooled connection closes before any byte of the answer, the request is sent once more, on a fresh one,
        unless its body is an iterable. If its method is not idempotent (RFC 9110 §9.2.2), only when the close came
        within `stale_seconds` of sending: later, the upstream may have done what it was asked.

        Raises UpstreamError, InvalidRequest, or whatever an iterable body raises.
        """
        head = encode_head(method, target, headers, encode_framing(body, body_length), self._address.authority)
        if isinstance(body, bytes) and len(body) <= SLICE_BYTES:
            head += body  # one write
            body = None
        connection = self._take_idle()
        is_reused = connection is not None
        asked = time.monotonic()
        try:
            connection = connection or await self._connect(timeouts.connect)
            response = await connection.exchange(head, body, body_length, method in _HEAD, timeouts)
        except UpstreamClosed as error:
            is_replayable = body is None or isinstance(body, bytes)
            if not is_reused or error.answer_begun or not is_replayable:
                raise
            if method not in IDEMPOTENT and time.monotonic() - asked > self.stale_seconds:
                raise
            try:
                connection = await self._connect(timeouts.connect)
            except UpstreamError as failed:
                raise error from failed  # whoever accepts no more may have died of, or with, what it was sent
            response = await connection.exchange(head, body, body_length, method in _HEAD, timeouts)
        if response.upgraded and (
            isinstance(headers, bytes) or not any(name.lower() == b"upgrade" for name, _ in headers)
        ):
            response.close()
            raise BadAnswer("101 Switching Protocols to a request that asked for none")
        return response

    async def warm(self, seconds: float) -> None:
        """Opens a connection for a request to come, and so tells whether the upstream accepts any.

        Raises ConnectFailed, ConnectTimeout (within `seconds`) or PoolExhausted.
        """
        (await self._connect(seconds)).release()

    async def close(self) -> None:
        """Closes every connection, those in flight too: their requests raise UpstreamClosed.

        Returns once the loop has said of each that it is closed, or after a second: no shutdown hangs on that word.
        """
        self._closed = True
        for connection in tuple(self._connections):
            connection.fail(UpstreamClosed("the pool was closed", answer_begun=True))
        if self._connections:
            self._emptied = self._emptied or asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=_CLOSE_SECONDS)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle[-1]
            if connection.is_ready():
                self._idle.pop()
                self.in_flight += 1
                return connection
            connection.close()
        return None

    async def _connect(self, seconds: float) -> Connection:
        if self._closed:
            raise ConnectFailed("the pool is closed")
        if self.in_flight + len(self._idle) >= self.connections_max:
            if not self._idle:
                raise PoolExhausted(f"all {self.connections_max} connections to {self.url} are in use")
            self._idle[0].close()
        connection = Connection(self)
        self._connections.add(connection)
        self.in_flight += 1
        try:
            async with asyncio.timeout(seconds):
                await self._open(connection)
        except TimeoutError as error:
            self._give_up(connection)
            raise ConnectTimeout(f"no connection to {self.url} within {seconds} s") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be one, such as a..b
            self._give_up(connection)
            raise ConnectFailed(f"no connection to {self.url}: {error}") from error
        except BaseException:
            self._give_up(connection)
            raise
        if connection.is_closed:
            raise ConnectFailed(f"{self.url} closed the connection, or spoke, before it was asked anything")
        return connection

    def _give_up(self, connection: Connection) -> None:
        connection.close()
        # uvloop, cancelled between connection_made and its return, closes the socket without calling connection_lost.
        self.lost(connection)

    async def _open(self, connection: Connection) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        if address.path is not None:
            await loop.create_unix_connection(lambda: connection, address.path)
        else:
            await loop.create_connection(
                lambda: connection, address.host, address.port, ssl=self._tls, server_hostname=self._server_name
            )

    # --- what its connections tell it --------------------------------------------------------------------------

    def released(self, connection: Connection) -> None:
        """`connection` is free for another request."""
        self.in_flight -= 1
        self._idle.append(connection)
        if self._closed:
            connection.close()

    def left(self, connection: Connection, was_idle: bool) -> None:
        """`connection` will carry no further request."""
        if was_idle:
            self._idle.remove(connection)
        else:
            self.in_flight -= 1

    def lost(self, connection: Connection) -> None:
        """`connection` holds no socket any more."""
        self._connections.discard(connection)
        if self._emptied is not None and not self._emptied.done() and not self._connections:
            self._emptied.set_result(None)
