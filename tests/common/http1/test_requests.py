"""What leaves: heads, bodies, and what is refused before it leaves."""

import asyncio

import pytest

from common.http1 import InvalidRequest, Timeouts, UpstreamClosed
from common.http1.pool import parse_address
from common.http1.request import encode_head

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


async def exchange(upstream, connect, *args, read=0, **options):
    """Sends one request; returns what the server read: the head and `read` bytes of body."""
    seen = asyncio.get_running_loop().create_future()

    async def script(peer):
        head = await peer.head()
        seen.set_result((head, await peer.reader.readexactly(read)))
        await peer.say(OK)
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request(*args, **options)
    assert await response.read(10) == b"ok"
    assert (pool.idle, pool.in_flight) == (1, 0)
    return await seen


async def test_request_is_written_as_given_with_host_added(upstream, connect):
    head, _ = await exchange(upstream, connect, "GET", b"/a?b=c", [(b"X-One", b"1"), (b"x-two", b"")])
    port = head.split(b"127.0.0.1:")[1].split(b"\r\n")[0]
    assert head == b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%b\r\nX-One: 1\r\nx-two: \r\n\r\n" % port


async def test_given_host_is_kept(upstream, connect):
    head, _ = await exchange(upstream, connect, b"DELETE", b"/", [(b"host", b"api.example.com")])
    assert head == b"DELETE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


async def test_bytes_leave_with_their_length_in_one_write_with_the_head(upstream, connect):
    reads = []

    class Transport(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            reads.append(data)
            self.transport.write(OK)

    server = await asyncio.get_running_loop().create_server(Transport, "127.0.0.1", 0)
    pool = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await pool.request("POST", b"/", [(b"Host", b"x")], b"hello")
    assert reads == [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"]
    server.close()


async def test_empty_body_announces_length_zero(upstream, connect):
    head, _ = await exchange(upstream, connect, "POST", b"/", [(b"Host", b"x")], b"")
    assert head.endswith(b"\r\nContent-Length: 0\r\n\r\n")


async def test_large_bytes_arrive_whole(upstream, connect):
    body = bytes(range(256)) * 4000
    head, got = await exchange(upstream, connect, "PUT", b"/", [], body, read=len(body))
    assert b"Content-Length: 1024000\r\n" in head
    assert got == body


async def test_stream_with_length_is_sent_bare(upstream, connect):
    head, got = await exchange(upstream, connect, "PUT", b"/", [], pieces(b"he", b"", b"llo"), body_length=5, read=5)
    assert b"Content-Length: 5\r\n" in head
    assert got == b"hello"


async def test_stream_of_length_zero_needs_no_chunk(upstream, connect):
    head, _ = await exchange(upstream, connect, "PUT", b"/", [], pieces(), body_length=0)
    assert b"Content-Length: 0\r\n" in head


async def test_stream_without_length_is_chunked_and_empty_chunks_do_not_end_it(upstream, connect):
    wire = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    head, got = await exchange(upstream, connect, "PUT", b"/", [], pieces(b"he", b"", b"llo"), read=len(wire))
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert b"Content-Length" not in head
    assert got == wire


@pytest.mark.parametrize("chunks", [(b"hel",), (b"hel", b"lo!")])
async def test_stream_of_another_length_than_announced_closes_and_raises(upstream, connect, chunks):
    got = asyncio.get_running_loop().create_future()

    async def script(peer):
        await peer.head()
        got.set_result(await peer.reader.read())

    pool = connect((await upstream(script)).url)
    with pytest.raises(InvalidRequest):
        await pool.request("PUT", b"/", [], pieces(*chunks), body_length=5)
    assert (pool.idle, pool.in_flight) == (0, 0)
    assert await got == b"hel"


async def test_what_a_body_raises_reaches_the_caller_and_closes_the_connection(upstream, connect):
    async def script(peer):
        await peer.client_closes()

    async def broken():
        yield b"a"
        raise LookupError("the client left")

    pool = connect((await upstream(script)).url)
    with pytest.raises(LookupError, match="the client left"):
        await pool.request("PUT", b"/", [], broken())
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_body_cancelled_at_its_source_does_not_hang_the_request(upstream, connect):
    async def script(peer):
        await peer.client_closes()

    async def cancelled():
        yield b"a"
        raise asyncio.CancelledError

    pool = connect((await upstream(script)).url)
    with pytest.raises(InvalidRequest):
        await pool.request("PUT", b"/", [], cancelled())


async def test_sent_body_whose_source_lingers_does_not_hold_the_answer_or_the_connection(upstream, connect):
    async def script(peer):
        while await peer.head():
            assert await peer.reader.readexactly(2) == b"hi"
            await peer.answer()

    lingering = asyncio.Event()

    async def slow_to_end():
        yield b"hi"
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            lingering.set()

    pool = connect((await upstream(script)).url)
    response = await pool.request("PUT", b"/", [], slow_to_end(), body_length=2)
    assert response.complete == b"ok"
    assert (pool.idle, pool.in_flight) == (1, 0)
    async with asyncio.timeout(2):
        await lingering.wait()


async def test_early_answer_stops_the_body_and_the_connection_is_not_used_again(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.answer(b"too large", b"413 Content Too Large")
        await peer.client_closes()

    stopped = asyncio.Event()

    async def endless():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            stopped.set()

    pool = connect((await upstream(script)).url)
    response = await pool.request("PUT", b"/", [], endless())
    assert response.status == 413
    assert await response.read(100) == b"too large"
    assert (pool.idle, pool.in_flight) == (0, 0)
    async with asyncio.timeout(2):
        await stopped.wait()


@pytest.mark.parametrize("status", [b"307 Temporary Redirect", b"413 Content Too Large"])
async def test_early_answer_in_pieces_is_read_to_its_end(upstream, connect, status):
    go_on = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.say(b"HTTP/1.1 %b\r\nContent-Length: 4\r\n\r\nno" % status)
        await go_on.wait()
        await peer.say(b"no")
        await peer.client_closes()

    stopped = asyncio.Event()

    async def stuck():
        try:
            yield b"x"
            await asyncio.get_running_loop().create_future()
        finally:
            stopped.set()

    pool = connect((await upstream(script)).url)
    response = await pool.request("PUT", b"/", [], stuck())
    assert response.complete is None
    async with asyncio.timeout(2):
        await stopped.wait()  # at the head already: nobody wants the rest
    go_on.set()
    assert await response.read(100) == b"nono"
    assert (pool.idle, pool.in_flight) == (0, 0)


@pytest.mark.parametrize("length", [None, 8_000_000])
async def test_upstream_may_answer_while_it_reads(real, connect, length):
    """A service that transforms a stream answers from its first byte on; the rest of the request still goes there."""

    async def body():
        for _ in range(80):
            yield b"x" * 100_000

    pool = connect(real)
    response = await pool.request("POST", b"/mirror", [], body(), body_length=length)
    assert len(await response.read(1 << 24)) == 8_000_000
    assert (pool.idle, pool.in_flight) == (1, 0)


async def test_silence_while_the_request_is_paused_is_not_held_against_an_upstream_that_answers_early(real, connect):
    go_on = asyncio.Event()

    async def body():
        yield b"first"
        await go_on.wait()
        yield b"last"

    pool = connect(real)
    response = await pool.request("POST", b"/mirror", [], body(), timeouts=Timeouts(idle=0.05))
    assert await anext(response) == b"first"
    await asyncio.sleep(0.2)  # four idle times
    go_on.set()
    assert await response.read(100) == b"last"
    assert pool.idle == 1


async def test_what_a_body_raises_after_an_early_answer_reaches_its_reader(real, connect):
    answered = asyncio.Event()

    async def body():
        yield b"first"
        await answered.wait()
        raise LookupError("the client left")

    pool = connect(real)
    response = await pool.request("POST", b"/mirror", [], body())
    assert await anext(response) == b"first"
    answered.set()
    with pytest.raises(LookupError):
        await anext(response)
    assert (pool.idle, pool.in_flight) == (0, 0)


async def test_body_waits_for_a_slow_upstream(upstream, connect):
    go_on = asyncio.Event()

    async def script(peer):
        await peer.head()
        await go_on.wait()
        got = 0
        while got < 64 * 1_000_000:
            got += len(await peer.reader.read(1 << 20))
        await peer.answer()
        await peer.client_closes()

    produced = 0
    stalled = asyncio.Event()

    async def body():
        nonlocal produced
        for _ in range(64):
            timer = asyncio.get_running_loop().call_later(0.2, stalled.set)
            yield b"x" * 1_000_000
            timer.cancel()
            produced += 1

    pool = connect((await upstream(script)).url)
    task = asyncio.create_task(pool.request("PUT", b"/", [], body(), body_length=64_000_000))
    async with asyncio.timeout(5):
        await stalled.wait()
    assert produced < 32  # the kernel's buffers and one chunk, not the whole body
    go_on.set()
    assert (await task).complete == b"ok"
    assert produced == 64


async def test_upstream_that_closes_during_an_upload_is_reported_and_not_retried(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.reader.readexactly(1)
        peer.reset()

    server = await upstream(script)
    pool = connect(server.url)

    async def stuck():
        yield b"x"
        await asyncio.get_running_loop().create_future()

    with pytest.raises(UpstreamClosed):
        await pool.request("PUT", b"/", [], stuck(), body_length=2)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", b"/", [(b"A", b"b\r\nC: d")]),
        ("GET", b"/", [(b"A", b"b\nc")]),
        ("GET", b"/", [(b"A", b"b\rc")]),
        ("GET", b"/", [(b"A", b"b\0c")]),
        ("GET", b"/", [(b"A\r\nB", b"c")]),
        ("GET", b"/", [(b"A ", b"c")]),
        ("GET", b"/", [(b" A", b"c")]),
        ("GET", b"/", [(b"A:B", b"c")]),
        ("GET", b"/", [(b"", b"c")]),
        ("GET", b"/", [(b"A\xe9", b"c")]),
        ("GET", b"/", [(b"content-LENGTH", b"0")]),
        ("GET", b"/", [(b"Transfer-Encoding", b"chunked")]),
        ("GET", b"/", [(b"Host", b"a"), (b"host", b"b")]),
        ("GET", b"/a b", []),
        ("GET", b"/a\r\nX: y", []),
        ("GET", b"/a\0", []),
        ("GET", b"", []),
        ("GET /x", b"/", []),
        ("GÉT", b"/", []),
        (b"", b"/", []),
        ("CONNECT", b"example.com:443", []),
    ],
)
def test_ambiguous_request_is_refused(method, target, headers):
    for _ in range(2):  # nothing refused may be remembered as good
        with pytest.raises(InvalidRequest):
            encode_head(method, target, headers, b"", b"x")


def test_value_that_reads_like_a_host_line_does_not_replace_it():
    head = encode_head("GET", b"/", [(b"A", b"Host: evil")], b"", b"good")
    assert head == b"GET / HTTP/1.1\r\nHost: good\r\nA: Host: evil\r\n\r\n"


def test_invented_header_names_do_not_pile_up():
    from common.http1 import request

    for number in range(5000):
        encode_head("GET", b"/", [(b"x-%d" % number, b"")], b"", b"x")
        encode_head(f"M{number}", b"/", [], b"", b"x")
    assert len(request._lines) < 1100
    assert len(request._methods) < 1100


def test_long_invented_names_are_written_but_not_kept():
    from common.http1 import request

    name = b"X-" + b"a" * 8000
    head = encode_head(b"M" * 8000, b"/", [(name, b"1"), (b"X-Short", b"2")], b"", b"x")
    assert b"\r\n%b: 1\r\nX-Short: 2\r\n" % name in head
    assert max(map(len, request._lines)) <= 64
    assert max(map(len, request._methods)) <= 64


@pytest.mark.parametrize(("body", "length"), [(None, 3), (b"abc", 4), (pieces(), -1)])
async def test_body_and_length_must_agree(connect, body, length):
    with pytest.raises(InvalidRequest):
        await connect("http://127.0.0.1:1").request("PUT", b"/", [], body, body_length=length)


def test_addresses():
    assert parse_address("http://127.0.0.1:8082").port == 8082
    assert parse_address("https://example.com").port == 443
    assert parse_address("http://[::1]:80/").host == "::1"
    assert parse_address("unix:///run/a.sock").path == "/run/a.sock"
    for wrong in ("ftp://a", "http://", "http://a/b", "http://a?b", "http://u:p@a", "unix://", "a:80", "http://a:b"):
        with pytest.raises(ValueError, match=r".+"):
            parse_address(wrong)
