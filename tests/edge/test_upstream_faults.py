"""Upstreams that lie, break off or say nothing: a clean error or a broken connection, never a wrong body as whole.

Each fault is met by GET and by POST. Afterwards the upstream behaves, and the next request must reach it on another
connection: the faulty one is never used again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientError

from tests.common.http1.scripted import Peer, Upstream
from tests.edge.conftest import Edge, StartEdge

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024

Fault = Callable[[Peer], Awaitable[None]]


def says(answer: bytes) -> Fault:
    """Says it and waits for the edge to close."""

    async def script(peer: Peer) -> None:
        await peer.say(answer)
        await peer.client_closes()

    return script


def says_and_closes(answer: bytes) -> Fault:
    async def script(peer: Peer) -> None:
        await peer.say(answer)

    return script


def says_and_resets(answer: bytes) -> Fault:
    async def script(peer: Peer) -> None:
        await peer.say(answer)
        peer.reset()

    return script


async def floods_with_interim_answers(peer: Peer) -> None:
    while True:
        await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)


async def floods_with_chunk_extensions(peer: Peer) -> None:
    await peer.say(CHUNKED + b"2;")
    while True:
        await peer.say(b"a" * 10_000)


REFUSED: dict[str, tuple[Fault, int]] = {
    "resets without an answer": (says_and_resets(b""), 502),
    "closes without an answer": (says_and_closes(b""), 502),
    "closes in its head": (says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Le"), 502),
    "resets in its head": (says_and_resets(b"HTTP/1.1 200 OK\r\nContent-Le"), 502),
    "never answers": (says(b""), 504),
    "stalls in its head": (says(b"HTTP/1.1 200 OK\r\n"), 504),
    "says no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), 502),
    "says HTTP/2": (says(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), 502),
    "says HTTP/0.9": (says(b"<html>hello</html>"), 502),
    "has no status": (says(b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a status of two digits": (says(b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a status of four digits": (says(b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a field without a colon": (says(b"HTTP/1.1 200 OK\r\ngarbage\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a space before a colon": (says(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"), 502),
    "has a folded field": (says(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has NUL in a field": (says(b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a bare CR in a field": (says(b"HTTP/1.1 200 OK\r\nA: b\rc: d\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a bare LF in a field": (says(b"HTTP/1.1 200 OK\r\nA: b\nc: d\r\nContent-Length: 2\r\n\r\nok"), 502),
    "has a megabyte of one field": (says(b"HTTP/1.1 200 OK\r\nA: " + b"b" * MEGABYTE + b"\r\n\r\n"), 502),
    "has a megabyte of fields": (says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (MEGABYTE // 6) + b"\r\n"), 502),
    "has two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"), 502),
    "has a length of two numbers": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!"), 502),
    "has a negative length": (says(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"), 502),
    "has a length past 64 bits": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok"), 502),
    "has length and coding": (
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        502,
    ),
    "has an unknown coding": (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 502),
    "codes in HTTP/1.0": (says(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 502),
    "switches protocols unasked": (says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), 502),
    "floods with interim answers": (floods_with_interim_answers, 502),
    "says only an interim answer": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), 504),
    "announces a body for 204": (says(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"), 502),
}
# The head has left by then, or not, as the bytes fall: an error or a broken connection, both are honest.
CUT: dict[str, Fault] = {
    "resets in a counted body": says_and_resets(LONG),
    "closes in a counted body": says_and_closes(LONG),
    "stalls in a counted body": says(LONG),
    "closes in a short body": says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"),
    "resets in a chunk": says_and_resets(CHUNKED + b"a\r\nok"),
    "closes in a chunk": says_and_closes(CHUNKED + b"a\r\nok"),
    "closes between chunks": says_and_closes(CHUNKED + b"2\r\nok\r\n"),
    "closes before the last line": says_and_closes(CHUNKED + b"2\r\nok\r\n0\r\n"),
    "stalls between chunks": says(CHUNKED + b"2\r\nok\r\n"),
    "has a garbage chunk size": says(CHUNKED + b"2\r\nok\r\nzz\r\n"),
    "has a negative chunk size": says(CHUNKED + b"2\r\nok\r\n-2\r\nok\r\n0\r\n\r\n"),
    "has a chunk size past 64 bits": says(CHUNKED + b"2\r\nok\r\n10000000000000002\r\nok\r\n0\r\n\r\n"),
    "has a chunk longer than its size": says(CHUNKED + b"2\r\nokay\r\n0\r\n\r\n"),
    "has a chunk without an end": says(CHUNKED + b"2\r\nok0\r\n\r\n"),
    "has garbage for a trailer": says(CHUNKED + b"2\r\nok\r\n0\r\ngarbage\r\n\r\n"),
    "floods with chunk extensions": floods_with_chunk_extensions,
    "resets in a body until close": says_and_resets(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000),
}
# A whole answer, and more: the answer is passed, the rest never.
SURPLUS: dict[str, Fault] = {
    "answers twice": says(OK + OK.replace(b"ok", b"no")),
    "says more than its length": says(OK + b" and more"),
    "ends with line ends": says(OK + b"\r\n\r\n"),
    "says more behind its last chunk": says(CHUNKED + b"2\r\nok\r\n0\r\n\r\nmore"),
    "closes behind its answer": says_and_closes(OK),
    "resets behind its answer": says_and_resets(OK),
    "closes for the end of its body": says_and_closes(b"HTTP/1.1 200 OK\r\n\r\nok"),
}


@pytest.fixture(params=["GET", "POST"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def faulty_once(fault: Fault) -> Upstream:
    """An upstream whose first connection is at fault once it has read a request, and whose others behave."""

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await peer.reader.readexactly(4 if head.startswith(b"POST") else 0)
            if peer.ordinal == 1:
                await fault(peer)
                return
            await peer.answer(b"well")

    return Upstream(script)


@asynccontextmanager
async def behind(start_edge: StartEdge, *upstreams: Upstream) -> AsyncIterator[Edge]:
    """An edge before all of them: `/0` goes to the first."""
    try:
        for upstream in upstreams:
            await upstream.start()
        routes = "".join(
            f'[upstream.u{number}]\nservers = ["{upstream.url}"]\n[[route]]\npath = "/{number}"\n'
            f'upstream = "u{number}"\nauth = "none"\nlimits = []\n'
            "timeout = { connect = 5, first_byte = 0.5, idle = 0.5 }\n"
            for number, upstream in enumerate(upstreams)
        )
        yield await start_edge(routes)
    finally:
        for upstream in upstreams:
            await upstream.stop()


async def ask(edge: Edge, method: str, number: int = 0) -> tuple[int, bytes, dict[str, str]]:
    async with edge.client.request(method, f"/{number}", data=b"body" if method == "POST" else None) as response:
        return response.status, await response.read(), dict(response.headers)


async def was_replaced(edge: Edge, method: str, upstream: Upstream, number: int = 0) -> bool:
    """Whether the next request is served, on the second connection."""
    status, body, _ = await ask(edge, method, number)
    return (status, body, upstream.connections) == (200, b"well", 2)


async def unmet(
    start_edge: StartEdge, method: str, faults: Mapping[str, Fault], keeps: Callable[[str, Edge, int], Awaitable[bool]]
) -> list[str]:
    """The faults after which a promise did not hold: `keeps` tells for one, of which the second request then tries."""
    upstreams = [faulty_once(fault) for fault in faults.values()]
    async with behind(start_edge, *upstreams) as edge:

        async def meet(number: int, name: str) -> bool:
            return await keeps(name, edge, number) and await was_replaced(edge, method, upstreams[number], number)

        kept = await asyncio.gather(*(meet(number, name) for number, name in enumerate(faults)))
    return [name for name, is_kept in zip(faults, kept, strict=True) if not is_kept]


async def test_upstream_that_gives_no_answer_becomes_an_envelope(start_edge: StartEdge, method: str) -> None:
    async def keeps(name: str, edge: Edge, number: int) -> bool:
        status, body, headers = await ask(edge, method, number)
        said = json.loads(body)
        return status == said["statusCode"] == REFUSED[name][1] and said["requestId"] == headers["X-Request-ID"]

    assert await unmet(start_edge, method, {name: fault for name, (fault, _) in REFUSED.items()}, keeps) == []


async def test_answer_that_breaks_off_is_never_passed_as_whole(start_edge: StartEdge, method: str) -> None:
    async def keeps(name: str, edge: Edge, number: int) -> bool:
        try:
            status, body, _ = await ask(edge, method, number)
        except ClientError:
            return True  # broken where it broke
        return status in (502, 504) and json.loads(body)["statusCode"] == status

    assert await unmet(start_edge, method, CUT, keeps) == []


async def test_what_is_behind_an_answer_reaches_nobody(start_edge: StartEdge, method: str) -> None:
    async def keeps(name: str, edge: Edge, number: int) -> bool:
        return (await ask(edge, method, number))[:2] == (200, b"ok")

    assert await unmet(start_edge, method, SURPLUS, keeps) == []


async def test_head_with_a_body_keeps_the_bodys_bytes_from_the_next_answer(start_edge: StartEdge) -> None:
    upstream = faulty_once(says(OK))
    async with behind(start_edge, upstream) as edge:
        status, body, headers = await ask(edge, "HEAD")
        assert (status, body, headers["Content-Length"]) == (200, b"", "2")
        assert await was_replaced(edge, "GET", upstream)


async def test_not_modified_with_a_body_keeps_its_bytes_from_the_next_answer(start_edge: StartEdge) -> None:
    upstream = faulty_once(says(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"))
    async with behind(start_edge, upstream) as edge:
        status, body, _ = await ask(edge, "GET")
        assert (status, body) == (304, b"")
        assert await was_replaced(edge, "GET", upstream)


async def test_answer_to_nothing_is_no_answer_to_the_next_request(start_edge: StartEdge, method: str) -> None:
    speak, was_hung_up_on = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        await peer.reader.readexactly(4 if head.startswith(b"POST") else 0)
        await peer.answer(b"well")
        if peer.ordinal == 1:
            await speak.wait()
            await peer.say(OK)  # on a connection that waits in the pool
            await peer.client_closes()
            was_hung_up_on.set()

    upstream = Upstream(script)
    async with behind(start_edge, upstream) as edge:
        assert (await ask(edge, method))[:2] == (200, b"well")
        speak.set()
        await asyncio.wait_for(was_hung_up_on.wait(), 5)
        assert await was_replaced(edge, method, upstream)


async def test_upstream_that_closed_while_idle_costs_no_request(start_edge: StartEdge, method: str) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        await peer.reader.readexactly(4 if head.startswith(b"POST") else 0)
        await peer.answer(b"well")

    async with behind(start_edge, Upstream(script)) as edge:
        for _ in range(5):
            assert (await ask(edge, method))[:2] == (200, b"well")
