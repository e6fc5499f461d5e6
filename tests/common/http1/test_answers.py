"""What comes back: every way an answer's end is told, and everything that is not one unambiguous answer."""

import asyncio

import pytest

from common.http1 import AnswerTooLarge, BadAnswer, UpstreamClosed

HEAD = b"HTTP/1.1 200 OK\r\n"


def saying(*parts, then_close=False):
    """A script that answers every request with `parts`, each in a segment of its own."""

    async def script(peer):
        while True:
            await peer.head()
            for part in parts:
                await peer.say(part)
                await asyncio.sleep(0.005)  # to be read apart: a boundary no event tells
            if then_close:
                return

    return script


async def get(pool, method="GET"):
    response = await pool.request(method, b"/", [])
    return response, await response.read(1 << 22)


async def test_small_answer_is_complete_with_its_head(upstream, connect):
    pool = connect((await upstream(saying(HEAD + b"X-One: 1\r\nx-One:  2\r\nContent-Length: 3\r\n\r\nabc"))).url)
    response = await pool.request("GET", b"/", [])
    assert (response.status, response.reason) == (200, b"OK")
    assert response.headers == [(b"X-One", b"1"), (b"x-One", b"2"), (b"Content-Length", b"3")]
    assert response.complete == b"abc"
    assert (pool.idle, pool.in_flight) == (1, 0)
    assert [chunk async for chunk in response] == [b"abc"]
    assert response.complete is None
    response.close()
    assert pool.idle == 1


REUSABLE = {
    "length": [HEAD + b"Content-Length: 3\r\n\r\nabc"],
    "length, in pieces": [b"HTTP/1.1 2", b"00 O", b"K\r\nContent-Len", b"gth: 3\r", b"\n\r\na", b"b", b"c"],
    "chunked": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n"],
    "chunked, in pieces": [HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\n", b"a", b"\r\n2\r\nbc\r\n0", b"\r\n\r\n"],
    "1.0 that keeps alive": [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc"],
    "no reason": [b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc"],
    "100 first": [b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 3\r\n\r\nabc"],
    "103 first, apart": [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", HEAD + b"Content-Length: 3\r\n\r\nabc"],
    "100 with length 0 first": [
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\n\r\nabc",
    ],
    "trailers": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"],
    "trailers, apart": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\nX-", b"Sum: 1\r\n\r\n"],
}


@pytest.mark.parametrize("parts", REUSABLE.values(), ids=REUSABLE)
async def test_good_answer_leaves_a_connection_to_use_again(upstream, connect, parts):
    server = await upstream(saying(*parts))
    pool = connect(server.url)
    for _ in range(3):
        response, body = await get(pool)
        assert (response.status, body) == (200, b"abc")
        assert {name for name, _ in response.headers} <= {b"Content-Length", b"Transfer-Encoding", b"Connection"}
        assert (pool.idle, pool.in_flight) == (1, 0)
    assert server.connections == 1


@pytest.mark.parametrize("body", [b"abc\r\n", b"\r\n", b"\n", b"\r\n\r\n", b"a\n\n\n\n\n\n", b"", b"\t"])
async def test_bodies_that_end_in_line_ends_leave_a_connection_to_use_again(upstream, connect, body):
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    for parts in ([head + body], [head, body]):
        pool = connect((await upstream(saying(*filter(None, parts)))).url)
        assert (await get(pool))[1] == body
        assert pool.idle == 1


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 3\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: 0\r\n\r\n",
        HEAD + b"\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_answers_to_head_have_no_body(upstream, connect, answer):
    server = await upstream(saying(answer))
    pool = connect(server.url)
    for _ in range(3):
        response = await pool.request("HEAD", b"/", [])
        assert response.complete == b""
    assert (server.connections, pool.idle) == (1, 1)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"]
)
async def test_204_and_304_have_no_body(upstream, connect, answer):
    pool = connect((await upstream(saying(answer))).url)
    for _ in range(2):
        assert (await pool.request("GET", b"/", [])).complete == b""
    assert pool.idle == 1


@pytest.mark.parametrize("method", ["DELETE", "HEAD"])
async def test_204_that_announces_an_empty_body_is_taken_without_its_length(upstream, connect, method):
    server = await upstream(saying(b"HTTP/1.1 204 No Content\r\nX-One: 1\r\nContent-Length: 0 \r\n\r\n"))
    pool = connect(server.url)
    for _ in range(3):
        response = await pool.request(method, b"/", [])
        assert (response.status, response.complete, response.headers) == (204, b"", [(b"X-One", b"1")])
    assert (server.connections, pool.idle) == (1, 1)


@pytest.mark.parametrize("answer", [HEAD + b"Connection: x, Close\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_connection_that_closes_after_head_is_not_kept(upstream, connect, answer):
    pool = connect((await upstream(saying(answer))).url)
    assert (await pool.request("HEAD", b"/", [])).complete == b""
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_get_after_head_reads_its_body(upstream, connect):
    async def script(peer):
        while True:
            method = (await peer.head()).split()[0]
            await peer.say(HEAD + b"Content-Length: 3\r\n\r\n" + (b"" if method == b"HEAD" else b"abc"))

    server = await upstream(script)
    pool = connect(server.url)
    for method, body in (("HEAD", b""), ("GET", b"abc"), ("HEAD", b""), ("GET", b"abc")):
        assert (await get(pool, method))[1] == body
    assert server.connections == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_body_until_close_ends_with_the_connection(upstream, connect, version):
    parts = [b"HTTP/%b 200 OK\r\nConnection: close\r\n\r\nab" % version, b"cd"]
    pool = connect((await upstream(saying(*parts, then_close=True))).url)
    response = await pool.request("GET", b"/", [])
    assert response.complete is None
    assert await response.read(10) == b"abcd"
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_body_until_close_that_is_reset_is_not_whole(upstream, connect):
    reset = asyncio.Event()

    async def resetting(peer):
        await peer.head()
        await peer.say(HEAD + b"\r\nab")
        await reset.wait()
        peer.reset()

    pool = connect((await upstream(resetting)).url)
    response = await pool.request("GET", b"/", [])
    reset.set()
    with pytest.raises(UpstreamClosed):
        await response.read(10)
    assert pool.in_flight == 0


SHORT = {
    "length": [HEAD + b"Content-Length: 5\r\n\r\nabc"],
    "length, nothing": [HEAD + b"Content-Length: 5\r\n\r\n"],
    "chunked, within a chunk": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"],
    "chunked, between chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    "chunked, before the last line": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"],
    "within the head": [HEAD + b"Content-Le"],
    "after 100": [b"HTTP/1.1 100 Continue\r\n\r\n"],
}


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("parts", SHORT.values(), ids=SHORT)
async def test_short_answer_is_never_a_normal_end(upstream, connect, parts, resets):
    async def script(peer):
        await peer.head()
        for part in parts:
            await peer.say(part)
        if resets:
            await asyncio.sleep(0.005)  # a reset at once would take back what was said
            peer.reset()

    pool = connect((await upstream(script)).url)
    with pytest.raises(UpstreamClosed) as raised:
        await get(pool)
    assert raised.value.answer_begun
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_what_came_before_a_fault_is_read_before_it_is_raised(upstream, connect):
    pool = connect((await upstream(saying(HEAD + b"Content-Length: 5\r\n\r\nabc", then_close=True))).url)
    response = await pool.request("GET", b"/", [])
    assert await anext(response) == b"abc"
    for _ in range(2):
        with pytest.raises(UpstreamClosed):
            await anext(response)


BAD = {
    "garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "length and chunked": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "huge length": HEAD + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\nabc",
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\nabc",
    "chunked on 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with length": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
    "204 with two lengths": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "204 without a number": b"HTTP/1.1 204 No Content\r\nContent-Length:\r\n\r\n",
    "204 chunked": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "100 with length": b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc",
    "100 that closes": b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
    "bad chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk size overflow": HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n",
    "chunk longer than said": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk lines without CR": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "head without CR": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "bare CR": HEAD + b"A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "NUL": HEAD + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "folded line": HEAD + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space before colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "no colon": HEAD + b"A\r\nContent-Length: 0\r\n\r\n",
    "no name": HEAD + b": a\r\nContent-Length: 0\r\n\r\n",
    "version 2": b"HTTP/2.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "switch nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "switch to nothing": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "1 MB header": HEAD + b"A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "header just over 64 KiB": HEAD + b"A: " + b"a" * 65_540 + b"\r\nContent-Length: 3\r\n\r\nabc",
    "many headers": HEAD + b"A: a\r\n" * 20_000 + b"Content-Length: 3\r\n\r\nabc",
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000,
    "endless trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + b"A: a\r\n" * 100_000,
    "endless chunk extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 1_000_000,
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
async def test_bad_answer_is_refused_and_its_connection_closed(upstream, connect, answer):
    closed = asyncio.Event()

    async def script(peer):
        await peer.head()
        try:
            await peer.say(answer)
            await peer.client_closes()
        finally:
            closed.set()

    pool = connect((await upstream(script)).url)
    async with asyncio.timeout(5):
        with pytest.raises(BadAnswer):
            await get(pool)
        assert (pool.idle, pool.in_flight) == (0, 0)
        await closed.wait()


async def test_header_of_almost_64_kib_passes(upstream, connect):
    value = b"a" * 65_000
    pool = connect(
        (await upstream(saying(HEAD + b"A: " + value + b"\r\nContent-Length: 100000\r\n\r\n" + b"b" * 100_000))).url
    )
    response, body = await get(pool)
    assert response.headers[0] == (b"A", value)
    assert body == b"b" * 100_000
    assert pool.idle == 1


SURPLUS = {
    "a second answer": HEAD + b"Content-Length: 3\r\n\r\nabc" + HEAD + b"Content-Length: 3\r\n\r\ndef",
    "half a second answer": HEAD + b"Content-Length: 3\r\n\r\nabcHTTP/1.",
    "garbage": HEAD + b"Content-Length: 3\r\n\r\nabcdef",
    "a line end": HEAD + b"Content-Length: 3\r\n\r\nabc\r\n",
    "a line feed": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\n",
    "a byte after chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nX",
    "a byte after close": HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nabcX",
    "Connection: close": HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("answer", SURPLUS.values(), ids=SURPLUS)
async def test_bytes_behind_an_answer_close_the_connection_after_it(upstream, connect, answer):
    server = await upstream(saying(answer))
    pool = connect(server.url)
    for number in (1, 2):
        assert (await get(pool))[1] == b"abc"
        assert (pool.idle, pool.in_flight, server.connections) == (0, 0, number)


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
        HEAD + b"Content-Length: 0\r\n\r\n\r\n",
        HEAD + b"Content-Length: 0\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
    ],
)
async def test_body_behind_the_answer_to_head_closes_the_connection(upstream, connect, answer):
    pool = connect((await upstream(saying(answer))).url)
    response = await pool.request("HEAD", b"/", [])
    assert response.complete == b""
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_large_answer_streams_within_bounded_memory(upstream, connect):
    """A reader that does not read stops the server's writes; nothing is lost once it does."""
    total = 50_000_000
    sent = 0
    stalled = asyncio.Event()

    async def script(peer):
        nonlocal sent
        await peer.head()
        await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % total)
        while sent < total:
            timer = asyncio.get_running_loop().call_later(0.2, stalled.set)
            await peer.say(b"x" * 100_000)
            timer.cancel()
            sent += 100_000
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [])
    async with asyncio.timeout(5):
        await stalled.wait()
    assert sent < total / 2
    largest = got = 0
    async for chunk in response:
        largest, got = max(largest, len(chunk)), got + len(chunk)
    assert got == total
    assert largest <= 64 * 1024 + 256 * 1024  # the high-water mark and one read of the loop
    assert (pool.idle, pool.in_flight) == (1, 0)


async def test_each_event_of_a_stream_comes_as_it_is_sent(upstream, connect):
    turn = asyncio.Semaphore(0)

    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            await turn.acquire()
            await peer.say(b"9\r\ndata: %d\n\n\r\n" % number)
        await peer.say(b"0\r\n\r\n")
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [])
    for number in range(5):
        turn.release()
        assert await anext(response) == b"data: %d\n\n" % number
    with pytest.raises(StopAsyncIteration):
        await anext(response)
    assert pool.idle == 1


async def test_read_past_its_limit_raises_and_closes(upstream, connect):
    pool = connect((await upstream(saying(HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000))).url)
    response = await pool.request("GET", b"/", [])
    with pytest.raises(AnswerTooLarge):
        await response.read(1000)
    assert pool.in_flight == 0


async def test_closing_an_unfinished_answer_closes_its_connection(upstream, connect):
    closed = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 5\r\n\r\nabc")
        await peer.client_closes()
        closed.set()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [])
    response.close()
    response.close()
    assert (pool.idle, pool.in_flight) == (0, 0)
    async with asyncio.timeout(2):
        await closed.wait()


async def test_closing_an_answer_that_ended_unread_leaves_the_connection_alone(upstream, connect):
    """The connection may carry another request by then."""
    gate = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 6\r\n\r\nabc")
        await gate.wait()
        await peer.say(b"def")
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 3\r\n\r\nx")
        await peer.reader.readexactly(1)

    server = await upstream(script)
    pool = connect(server.url)
    first = await pool.request("GET", b"/", [])
    gate.set()
    async with asyncio.timeout(2):
        while not pool.idle:
            await asyncio.sleep(0)
    assert first.complete == b"abcdef"
    second = await pool.request("GET", b"/", [])
    first.close()
    assert pool.in_flight == 1
    second.close()
    assert server.connections == 1


async def test_upgrade_hands_over_the_connection_with_what_came_behind_the_head(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        assert await peer.reader.readexactly(4) == b"ping"
        await peer.say(b"pong")
        await peer.client_closes()

    class Client(asyncio.Protocol):
        def __init__(self):
            self.got = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.got.set_result(data)

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")])
    assert response.upgraded
    assert response.complete is None
    assert pool.in_flight == 1
    transport, leftover = response.detach()
    assert leftover == b"hello"
    assert (pool.idle, pool.in_flight) == (0, 0)
    client = Client()
    transport.set_protocol(client)
    transport.resume_reading()
    transport.write(b"ping")
    async with asyncio.timeout(2):
        assert await client.got == b"pong"
    response.close()  # as a caller's `finally` does: no longer ours
    with pytest.raises(RuntimeError):
        response.detach()
    transport.write(b"more")
    transport.abort()


async def test_upgrade_that_is_not_wanted_after_all_is_closed(upstream, connect):
    closed = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await peer.client_closes()
        closed.set()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")])
    response.close()
    assert pool.in_flight == 0
    async with asyncio.timeout(2):
        await closed.wait()
    with pytest.raises(RuntimeError):
        response.detach()
