"""What may last: WebSockets, and the answers of routes that bound their streams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

from redis.asyncio import Redis

from common import http1
from common.background import stop
from common.errors import TooManyRequests
from common.http1 import Response
from common.http_server import Connection
from edge.addresses import limit_subject
from edge.answer import Answers, ClientGone
from edge.entries import StreamEntry
from edge.exchange import Exchange
from edge.leases import Leases
from edge.policies.handshake import Handshakes, require_accepted
from edge.upstream.forward import Forwarding
from edge.upstream.tunnel import GOING_AWAY, TRY_AGAIN_LATER, Tunnel

_HANDSHAKE = frozenset({b"sec-websocket-protocol"})  # goes on without a credential that may be in it
_RETRY_SECONDS = 5  # nobody knows when a stream of the caller will end

End = Callable[[int], None]  # takes a WebSocket's close code


class Streaming:
    """Serves the routes with `websocket` or `stream`: so many for each caller, so long, and not beyond the worker."""

    def __init__(self, handshakes: Handshakes, leases: Leases, forwarding: Forwarding, answers: Answers) -> None:
        self._handshakes = handshakes
        self._leases = leases
        self._forwarding = forwarding
        self._answers = answers
        self._open: set[End] = set()
        self._is_closing = False

    async def serve(self, exchange: Exchange) -> bool:
        """False for a plain request, which is left to be answered like any other.

        Raises TooManyRequests and what reading a handshake, forwarding and relaying raise.
        """
        route = exchange.route
        assert route is not None
        if route.websocket:
            exchange.handshake = self._handshakes.read(exchange)
        if exchange.handshake is None and not route.stream_answers:
            return False
        assert route.stream is not None
        async with self._place(exchange, route.path, route.stream.per_caller):
            await self._forward(exchange, route.stream)
        return True

    async def follow(self, closing: asyncio.Event) -> None:
        """Ends everything when the worker's time is over. Runs until cancelled."""
        await closing.wait()
        self._is_closing = True
        for end in tuple(self._open):
            end(GOING_AWAY)

    @asynccontextmanager
    async def _place(self, exchange: Exchange, path: str, places: int) -> AsyncIterator[None]:
        caller = exchange.caller
        subject = caller.subject if caller is not None else limit_subject(exchange.client.address)
        lease = await self._leases.take(subject, path, places)
        if lease is None:
            raise TooManyRequests(_RETRY_SECONDS, f"No more than {places} streams may be open here at once")
        try:
            yield
        finally:
            self._leases.give_back(lease)

    async def _forward(self, exchange: Exchange, bounds: StreamEntry) -> None:
        response = await self._forwarding.send(exchange, _HANDSHAKE if exchange.handshake else frozenset())
        try:
            if response.upgraded:
                await self._join(exchange, response, bounds)
            else:
                await self._relay(exchange, response, bounds)
        finally:
            response.close()

    async def _join(self, exchange: Exchange, response: Response, bounds: StreamEntry) -> None:
        assert exchange.handshake is not None
        require_accepted(exchange.handshake, response)
        self._answers.switch(exchange, response)
        try:
            tunnel = Tunnel(cast("Connection", exchange.request.protocol), response, bounds.idle)
        except ConnectionError:
            raise ClientGone from None
        try:
            with self._bounded(tunnel.end, bounds.seconds):
                await tunnel.run()
        finally:
            exchange.bytes_sent = tunnel.bytes_sent

    async def _relay(self, exchange: Exchange, response: Response, bounds: StreamEntry) -> None:
        limit = asyncio.timeout(None)

        def end(_code: int) -> None:
            if not limit.expired():
                limit.reschedule(0)

        try:
            async with limit:
                with self._bounded(end, bounds.seconds):
                    await self._answers.relay(exchange, response)
        except (TimeoutError, http1.IdleTimeout):
            await self._answers.end_early(exchange, response)

    @contextmanager
    def _bounded(self, end: End, seconds: float) -> Iterator[None]:
        timer = asyncio.get_running_loop().call_later(seconds, end, TRY_AGAIN_LATER)
        self._open.add(end)
        if self._is_closing:
            end(GOING_AWAY)
        try:
            yield
        finally:
            timer.cancel()
            self._open.discard(end)


@asynccontextmanager
async def open_streaming(
    handshakes: Handshakes, redis: Redis | None, forwarding: Forwarding, answers: Answers, closing: asyncio.Event
) -> AsyncIterator[Streaming]:
    """With what follows the store and the worker's end in the background."""
    leases = Leases(redis)
    streaming = Streaming(handshakes, leases, forwarding, answers)
    following = [asyncio.create_task(loop) for loop in (leases.follow(), streaming.follow(closing))]
    try:
        yield streaming
    finally:
        for task in following:
            await stop(task)
