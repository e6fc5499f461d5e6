"""Answers from what is kept, and asks the upstream once for all who want the same at the same time."""

import asyncio
from dataclasses import dataclass

from common.errors import ApiError
from common.http1 import Response
from edge.cache.answers import answer, cache_status
from edge.cache.fetching import Fetched, Fetching
from edge.cache.flights import Flight, Flights
from edge.cache.keys import is_personal, key_of, variant_of
from edge.cache.store import Entry, Store
from edge.exchange import Exchange
from edge.upstream.forward import Forwarding

_ROUNDS = 2  # the first may teach with what the answer varies


@dataclass(slots=True)
class Counts:
    """Requests on routes with a cache, by what became of them."""

    hit: int = 0
    miss: int = 0
    coalesced: int = 0
    bypass: int = 0


class Caching:
    """Takes the place of `Forwarding` on routes with a cache; identity and limits have been checked before."""

    def __init__(self, forwarding: Forwarding, store: Store) -> None:
        self.counts = Counts()
        self.store = store
        self._forwarding = forwarding
        self._fetching = Fetching(forwarding, store)
        self._flights: Flights[Fetched] = Flights()

    async def send(self, exchange: Exchange) -> Response:
        """The answer, kept or fresh. Raises what `Forwarding.send` does."""
        if exchange.method not in ("GET", "HEAD"):
            return await self._change(exchange)
        if is_personal(exchange):
            return await self._bypass(exchange)
        return await self._shared(exchange)

    async def _change(self, exchange: Exchange) -> Response:
        """What was changed is not kept any longer (RFC 9111 section 4.4)."""
        response = await self._forwarding.send(exchange)
        if response.status < 400 and exchange.method != "OPTIONS":
            self.store.forget(key_of(exchange).address)
        return response

    async def _bypass(self, exchange: Exchange) -> Response:
        self.counts.bypass += 1
        response = await self._forwarding.send(exchange)
        response.headers.append(cache_status(b"fwd=bypass"))
        return response

    async def _shared(self, exchange: Exchange) -> Response:
        key, asked = key_of(exchange), exchange.request.raw_headers
        for _ in range(_ROUNDS):
            variant = variant_of(asked, self.store.varying(key))
            entry = self.store.find(key, variant)
            if entry is not None and not entry.is_none:
                return self._hit(exchange, entry)
            if exchange.method == "HEAD":
                return self._missed(exchange, await self._forwarding.send(exchange))
            if entry is not None:
                break
            flight = self._flights.current((key, variant))
            if flight is None:
                flight = self._flights.start((key, variant), self._fetching.run(exchange, key))
                return self._missed(exchange, await _led(flight))
            entry = await _joined(flight)
            if entry is None:
                break
            if variant_of(asked, entry.varying) == entry.variant:
                self.counts.coalesced += 1
                return self._answer(exchange, entry, b"fwd=miss; collapsed")
        return self._missed(exchange, await self._fetching.run(exchange, key))

    def _hit(self, exchange: Exchange, entry: Entry) -> Response:
        self.counts.hit += 1
        return self._answer(exchange, entry, b"hit; ttl=%d" % (entry.expires_at - self.store.clock()))

    def _missed(self, exchange: Exchange, fetched: Fetched) -> Response:
        self.counts.miss += 1
        if isinstance(fetched, Entry):
            return self._answer(exchange, fetched, b"fwd=miss; stored", is_first=True)
        fetched.headers.append(cache_status(b"fwd=miss"))
        return fetched

    def _answer(self, exchange: Exchange, entry: Entry, status: bytes, *, is_first: bool = False) -> Response:
        seconds = int(self.store.clock() - entry.born_at)
        # RFC 9111 section 5.1: an Age says that this answer was not made for this request.
        return answer(exchange, entry, status, None if is_first and not seconds else seconds)


async def _led(flight: Flight[Fetched]) -> Fetched:
    """For who began it: also an answer that cannot be kept."""
    try:
        return await flight.wait()
    except asyncio.CancelledError:
        flight.task.add_done_callback(_close_unclaimed)
        raise


async def _joined(flight: Flight[Fetched]) -> Entry | None:
    """For the others; None sends them on their own way. A failing upstream is not asked once more by each of them."""
    try:
        fetched = await flight.wait()
    except ApiError as error:
        if error.status >= 500:
            raise
        return None  # something about the other's request
    return fetched if isinstance(fetched, Entry) else None


def _close_unclaimed(task: "asyncio.Task[Fetched]") -> None:
    if not task.cancelled() and task.exception() is None and isinstance(response := task.result(), Response):
        response.close()
