"""Streams over HTTP: each piece leaves at once, and how many, how long and how quiet they are is bounded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError, web

from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.edge.streams.wire import Joined

MEGABYTE = 1024 * 1024


class Feed:
    """An upstream whose streams say what the test tells them to, and nothing before."""

    def __init__(self, kind: str = "text/event-stream") -> None:
        self._kind = kind
        self._said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": self._kind})
        await response.prepare(request)
        try:
            while (said := await self._said.get()) is not None:
                await response.write(said)
        finally:
            self.gone.set()
        return response

    def say(self, event: bytes | None) -> None:
        self._said.put_nowait(event)


async def until_end(chunks: AsyncIterator[bytes], seconds: float = 5) -> bytes:
    async with asyncio.timeout(seconds):
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("route", [{}, {"stream": "true"}], ids=["plain", "stream"])
async def test_each_event_is_read_before_the_next_is_sent(
    start_edge: StartEdge, start_upstream: StartUpstream, route: dict[str, str]
) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed), **route))
    async with edge.client.get("/", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers
        for number in range(50):
            feed.say(event := b"data: %d\n\n" % number)
            assert await asyncio.wait_for(response.content.readany(), 5) == event
        feed.say(None)
        assert await until_end(response.content.iter_any()) == b""


async def test_other_streams_are_not_held_back_either(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    feed = Feed("application/x-ndjson")
    edge = await start_edge(table(await start_upstream(feed)))
    async with edge.client.get("/", headers={"Accept-Encoding": "gzip"}) as response:
        assert "X-Accel-Buffering" not in response.headers
        for line in (b"{}\n", b"[]\n"):
            feed.say(line)
            assert await asyncio.wait_for(response.content.readany(), 5) == line
        feed.say(None)


async def test_caller_gone_closes_the_upstream(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed), stream="true"))
    response = await edge.client.get("/")
    response.close()
    await asyncio.wait_for(feed.gone.wait(), 1)


async def test_more_at_once_than_a_caller_may_have_are_429_until_one_ends(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed), stream="{ per_caller = 2 }"))
    async with edge.client.get("/"), edge.client.get("/") as second:
        async with edge.client.get("/") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
            assert (await refused.json(content_type=None))["error"] == "TooManyRequests"
        feed.say(None)
        feed.say(None)
        assert await until_end(second.content.iter_any()) == b""
    async with edge.client.get("/") as allowed:
        assert allowed.status == 200
        feed.say(None)


async def test_callers_are_counted_for_themselves(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(
        table(await start_upstream(Feed()), stream="{ per_caller = 1 }"), TRUSTED_PROXIES="127.0.0.1"
    )
    async with contextlib.AsyncExitStack() as stack:
        for address, status in (("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429)):
            response = await stack.enter_async_context(edge.client.get("/", headers={"X-Forwarded-For": address}))
            assert response.status == status


async def test_stream_of_events_ends_cleanly_when_its_time_is_over(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed), stream="{ seconds = 0.3 }"))
    async with edge.client.get("/") as response:
        feed.say(b"data: 1\n\n")
        assert await until_end(response.content.iter_any()) == b"data: 1\n\n"
    await asyncio.wait_for(feed.gone.wait(), 1)


async def test_quiet_stream_of_events_ends_cleanly(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed), stream="{ idle = 0.3 }"))
    async with edge.client.get("/") as response:
        assert await until_end(response.content.iter_any()) == b""
    await asyncio.wait_for(feed.gone.wait(), 1)


async def test_worker_that_closes_ends_streams_of_events(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(Feed()), stream="true"))
    async with edge.client.get("/") as response:
        edge.runtime.closing.set()
        assert await until_end(response.content.iter_any()) == b""
    async with edge.client.get("/") as late:
        assert await until_end(late.content.iter_any()) == b""


async def test_other_stream_that_is_ended_is_never_taken_for_whole(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    feed = Feed("text/plain")
    edge = await start_edge(table(await start_upstream(feed), stream="{ seconds = 0.3 }"))
    async with edge.client.get("/") as response:
        feed.say(b"half of it")
        with pytest.raises(ClientPayloadError):
            await until_end(response.content.iter_any())


async def test_worker_that_closes_lets_other_routes_finish(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    feed = Feed()
    edge = await start_edge(table(await start_upstream(feed)))
    async with edge.client.get("/") as response:
        edge.runtime.closing.set()
        feed.say(b"data: [DONE]\n\n")
        feed.say(None)
        assert await until_end(response.content.iter_any()) == b"data: [DONE]\n\n"


async def test_reader_that_stalls_is_cut_off_and_holds_little(
    start_edge: StartEdge, start_upstream: StartUpstream, join: Joined
) -> None:
    sent = 0
    gone = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while sent < 64 * MEGABYTE:
                await response.write(b"data: %b\n\n" % (b"x" * 1000))
                sent += 1008
        finally:
            gone.set()
        return response

    edge = await start_edge(table(await start_upstream(endless), stream="{ idle = 0.5 }"))
    client = await join(edge, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.wait_for(gone.wait(), 10)
    assert sent < 32 * MEGABYTE


async def test_streams_count_over_all_workers_and_machines(
    start_edge: StartEdge, start_upstream: StartUpstream, clean_redis_url: str
) -> None:
    routes = table(await start_upstream(Feed()), stream="{ per_caller = 3 }")
    edges = [await start_edge(routes, REDIS_URL=clean_redis_url) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:

        async def status(edge: Edge) -> int:
            return (await stack.enter_async_context(edge.client.get("/"))).status

        statuses = await asyncio.gather(*(status(edge) for edge in edges * 4))
        assert sorted(statuses) == [200] * 3 + [429] * 5
