"""What a request leaves is freed with it; nothing waits for the search for cycles, which is rare (common/worker.py)."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.edge.test_guard import counted

_TIMES = 5
_GET = b"GET %b HTTP/1.1\r\nHost: it\r\n%b\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: it\r\nContent-Length: %d\r\n\r\n%b"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: it\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Which of our own objects only the search for cycles found, once the block is over."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        kinds = (type(thing) for thing in gc.garbage)
        found.update(kind.__name__ for kind in kinds if kind.__module__.startswith(("edge.", "common.")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


class _Upstream:
    """Answers as its path says. `arrived` is released for every request."""

    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.arrived.release()
        if request.path == "/broken":
            assert request.transport is not None
            request.transport.abort()
        if request.path in ("/stream", "/cut"):
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"the beginning")
        if request.path == "/cut":
            assert request.transport is not None
            request.transport.abort()
        if request.path in ("/broken", "/cut", "/silent", "/stream"):
            await asyncio.Event().wait()
        status = 404 if request.path == "/refused" else 200
        headers = {"Connection": "close"} if request.path == "/once" else {}
        return web.Response(status=status, body=await request.read() or b"ok", headers=headers)


async def _come_and_go(edge: Edge, upstream: _Upstream, request: bytes, until: bytes) -> None:
    """Leaves once it has read `until`; where that is empty, once the upstream has the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request)
    async with asyncio.timeout(5):
        await (reader.readuntil(until) if until else upstream.arrived.acquire())
    writer.transport.abort()


async def _until_all_is_over(edge: Edge) -> None:
    async with asyncio.timeout(5):
        while any(map(sum, await _open(edge))):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)  # the task of the last connection ends after it


async def _open(edge: Edge) -> list[list[float]]:
    families = await edge.runtime.merged_metrics()
    return [[*counted(families, name).values()] for name in ("client_connections", "http_requests_in_flight")]


@pytest.mark.parametrize(
    ("request_bytes", "until"),
    [
        pytest.param(_GET % (b"/", b""), b"ok", id="answered, then left"),
        pytest.param(_GET % (b"/", b"Connection: close\r\n"), b"ok", id="closed by the edge"),
        pytest.param(_GET % (b"/once", b""), b"ok", id="upstream that closes"),
        pytest.param(_GET % (b"/stream", b""), b"the beginning", id="stream broken off"),
        pytest.param(_GET % (b"/silent", b""), b"", id="left before the answer"),
        pytest.param(_GET % (b"/broken", b""), b"502", id="upstream that breaks off"),
        pytest.param(_GET % (b"/cut", b""), b"the beginning", id="answer cut short"),
        pytest.param(_GET % (b"/refused", b""), b"404", id="refused by the upstream"),
        pytest.param(_GET % (b"/token", b"Authorization: Bearer a.b.c\r\n"), b"401", id="bad token"),
        pytest.param(_GET % (b"/%zz", b""), b"400", id="malformed"),
        pytest.param(b"GET / HTTP/9\r\n\r\n", b"400", id="unreadable"),
        pytest.param(_POST % (4, b"body"), b"body", id="body"),
        pytest.param(_POST % (999_999, b"a part"), b"", id="body broken off"),
        pytest.param(_CHUNKED + b"no number\r\n", b"400", id="malformed body"),
    ],
)
async def test_a_client_that_comes_and_goes_leaves_no_cycle(
    start_edge: StartEdge, start_upstream: StartUpstream, request_bytes: bytes, until: bytes
) -> None:
    upstream = _Upstream()
    guarded = '[[route]]\npath = "/token"\nupstream = "it"\n'
    edge = await start_edge(table(await start_upstream(upstream.answer), "/") + guarded)
    with garbage() as found:
        for _ in range(_TIMES):
            await _come_and_go(edge, upstream, request_bytes, until)
        await _until_all_is_over(edge)
    assert not found
