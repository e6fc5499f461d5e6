"""Connections: opened, shared out, kept, given up, and never leaked."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from common.http1 import (
    BadAnswer,
    ConnectFailed,
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    PoolExhausted,
    Timeouts,
    UpstreamClosed,
    UpstreamError,
)
from common.http1.connection import Connection
from common.http1.pool import STALE_SECONDS
from tests.common.http1.scripted import echo_application

HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\nok"
BRIEF = Timeouts(connect=0.05, first_byte=0.05)
BRIEF_IDLE = Timeouts(idle=0.05)


async def always_ok(peer):
    while True:
        await peer.head()
        await peer.answer()


class SilentTransport(asyncio.Transport):
    """Takes everything and calls nobody back."""

    def abort(self):
        pass

    def is_closing(self):
        return False


async def until(condition):
    """Lets the loop turn until `condition()` holds."""
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0)


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


# --- with a real server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/", b"/?stream=1"])
@pytest.mark.parametrize("size", [0, 1, 10_000, 65_536, 65_537, 1_000_000])
async def test_bodies_of_all_sizes_go_there_and_back(real, connect, target, size):
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    pool = connect(real)
    for sent, length in ((body, None), (pieces(body[:7], body[7:]), size), (pieces(body[:7], body[7:]), None)):
        response = await pool.request("POST", target, [], sent, body_length=length)
        assert await response.read(1 << 24) == body
        assert dict(response.headers)[b"X-Method"] == b"POST"
    assert (pool.idle, pool.in_flight) == (1, 0)


async def test_head_to_a_real_server(real, connect):
    pool = connect(real)
    for _ in range(3):
        assert (await pool.request("HEAD", b"/", [])).complete == b""
    assert pool.idle == 1


async def test_many_requests_at_once_share_the_connections(real, connect):
    pool = connect(real, connections_max=50)

    async def one(number):
        response = await pool.request("POST", b"/", [], b"%d" % number)
        assert await response.read(100) == b"%d" % number

    for _ in range(4):
        await asyncio.gather(*(one(number) for number in range(50)))
    assert (pool.idle, pool.in_flight) == (50, 0)


# --- reuse ----------------------------------------------------------------------------------------------------------


async def test_last_used_connection_is_used_first(upstream, connect):
    served = []
    both = asyncio.Barrier(2)

    async def script(peer):
        while head := await peer.head():
            served.append(peer.ordinal)
            if head.startswith(b"PUT"):
                await both.wait()
            await peer.answer()

    pool = connect((await upstream(script)).url)
    await asyncio.gather(*(pool.request("PUT", b"/", []) for _ in range(2)))
    assert pool.idle == 2
    served.clear()
    for _ in range(3):
        await pool.request("GET", b"/", [])
    assert len(set(served)) == 1


async def test_connections_max_is_refused_at_once_and_not_queued(upstream, connect):
    pool = connect((await upstream(always_ok)).url, connections_max=2)
    answers = await asyncio.gather(*(pool.request("GET", b"/", []) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers].count(PoolExhausted) == 1
    assert PoolExhausted.never_sent
    assert (pool.idle, pool.in_flight) == (2, 0)
    assert (await pool.request("GET", b"/", [])).complete == b"ok"


async def test_idle_connection_is_closed_after_its_time(upstream, connect):
    closed = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.answer()
        await peer.client_closes()
        closed.set()

    pool = connect((await upstream(script)).url, idle_seconds=0.05)
    await pool.request("GET", b"/", [])
    assert pool.idle == 1
    async with asyncio.timeout(2):
        await closed.wait()
    assert (pool.idle, pool.in_flight) == (0, 0)


@pytest.mark.parametrize("said", [b"", OK, b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\r\n"])
async def test_idle_connection_that_closes_or_speaks_is_dropped(upstream, connect, said):
    gate = asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.answer()
        if peer.ordinal == 1:
            await gate.wait()
            if said:
                await peer.say(said)
                await peer.client_closes()

    server = await upstream(script)
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    gate.set()
    await until(lambda: pool.idle == 0)
    assert (await pool.request("GET", b"/", [])).complete == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_answer_that_came_before_its_request_left_is_nobodys(upstream, connect, method):
    peers, heads = [], []

    async def script(peer):
        peers.append(peer)
        while True:
            heads.append((peer.ordinal, (await peer.head()).split(b" ")[1]))
            await peer.answer()

    server = await upstream(script)
    pool = connect(server.url)
    await pool.request(method, b"/first", [])
    second = asyncio.create_task(pool.request(method, b"/second", []))
    # With the kernel now: read between the turn in which the request begins and the one in which it leaves.
    os.write(peers[0].writer.get_extra_info("socket").fileno(), HEAD + b"Content-Length: 6\r\n\r\nstolen")
    assert (await second).complete == b"ok"
    assert (await pool.request(method, b"/third", [])).complete == b"ok"
    assert heads == [(1, b"/first"), (2, b"/second"), (2, b"/third")]


def stale(*, resets: bool, fresh=b"ok"):
    """A script that closes each first connection when its second request has come, unanswered."""

    async def script(peer):
        if peer.ordinal == 1:
            await peer.head()
            await peer.answer()
        await peer.head()
        if peer.ordinal == 1 or not fresh:
            if resets:
                peer.reset()
            return
        await peer.answer(fresh)

    return script


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("body", [None, b"hello", b"x" * 200_000])
async def test_stale_connection_is_replaced_once_by_a_fresh_one(upstream, connect, body, resets):
    got = []

    async def script(peer):
        await peer.head()
        if peer.ordinal == 1:
            await peer.answer()
            await peer.head()
            if resets:
                peer.reset()
            return
        got.append(await peer.reader.readexactly(len(body or b"")))
        await peer.answer(b"fresh")

    server = await upstream(script)
    pool = connect(server.url, stale_seconds=5)  # this machine may be slow
    await pool.request("GET", b"/", [])
    response = await pool.request("POST", b"/", [], body)
    assert response.complete == b"fresh"
    assert got == [body or b""]
    assert server.connections == 2


async def test_stale_connection_is_not_replaced_twice(upstream, connect):
    server = await upstream(stale(resets=False, fresh=b""))
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    with pytest.raises(UpstreamClosed) as raised:
        await pool.request("GET", b"/", [])
    assert not raised.value.answer_begun
    assert (server.connections, pool.idle, pool.in_flight) == (2, 0, 0)


def dying_over_second_request():
    """A script whose first connection reads its second request, works on it, and closes."""

    async def script(peer):
        await peer.head()
        if peer.ordinal == 1:
            await peer.answer()
            await peer.head()
            await asyncio.sleep(2 * STALE_SECONDS)  # the work
            return
        await peer.answer(b"fresh")

    return script


@pytest.mark.parametrize("method", ["POST", b"POST", "PATCH", "delete", "LINK"])
async def test_request_that_may_have_been_worked_on_is_not_sent_twice(upstream, connect, method):
    server = await upstream(dying_over_second_request())
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    with pytest.raises(UpstreamClosed):
        await pool.request(method, b"/", [], b"hello")
    assert (server.connections, pool.in_flight) == (1, 0)


@pytest.mark.parametrize("method", ["GET", b"GET", "PUT", b"DELETE"])
async def test_idempotent_request_is_sent_again_however_late_the_close(upstream, connect, method):
    server = await upstream(dying_over_second_request())
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    assert (await pool.request(method, b"/", [])).complete == b"fresh"
    assert server.connections == 2


async def test_stream_is_not_sent_twice(upstream, connect):
    server = await upstream(stale(resets=False))
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    with pytest.raises(UpstreamClosed):
        await pool.request("POST", b"/", [], pieces(b"hello"), body_length=5)
    assert server.connections == 1


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_request_whose_answer_had_begun_is_not_sent_again(upstream, connect, said):
    async def script(peer):
        await peer.head()
        await peer.answer()
        await peer.head()
        await peer.say(said)

    server = await upstream(script)
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    with pytest.raises(UpstreamClosed):
        await pool.request("GET", b"/", [])
    assert server.connections == 1


async def test_fresh_connection_that_fails_is_not_retried(upstream, connect):
    async def script(peer):
        await peer.head()

    server = await upstream(script)
    pool = connect(server.url)
    with pytest.raises(UpstreamClosed):
        await pool.request("GET", b"/", [])
    assert (server.connections, pool.in_flight) == (1, 0)


async def test_upstream_that_hangs_up_at_once(upstream, connect):
    async def script(peer):
        peer.reset()

    pool = connect((await upstream(script)).url)
    with pytest.raises(UpstreamError):
        await pool.request("GET", b"/", [])
    assert pool.in_flight == 0


# --- time -----------------------------------------------------------------------------------------------------------


async def test_upstream_that_never_answers(upstream, connect):
    closed = asyncio.Event()

    async def script(peer):
        await peer.client_closes()
        closed.set()

    pool = connect((await upstream(script)).url)
    with pytest.raises(FirstByteTimeout):
        await pool.request("GET", b"/", [], timeouts=BRIEF)
    assert (pool.idle, pool.in_flight) == (0, 0)
    async with asyncio.timeout(2):
        await closed.wait()


async def test_reused_connection_that_never_answers(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.answer()
        await peer.client_closes()

    server = await upstream(script)
    pool = connect(server.url)
    await pool.request("GET", b"/", [])
    with pytest.raises(FirstByteTimeout):
        await pool.request("GET", b"/", [], timeouts=BRIEF)
    assert (server.connections, pool.in_flight) == (1, 0)


async def test_head_that_trickles_is_held_to_the_same_deadline(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.say(HEAD)
        while True:
            await peer.say(b"A: a\r\n")
            await asyncio.sleep(0.01)  # the trickle itself

    pool = connect((await upstream(script)).url)
    async with asyncio.timeout(2):
        with pytest.raises(FirstByteTimeout):
            await pool.request("GET", b"/", [], timeouts=BRIEF)


async def test_body_that_stalls(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 5\r\n\r\nab")
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [], timeouts=BRIEF_IDLE)
    with pytest.raises(IdleTimeout):
        await response.read(10)
    assert pool.in_flight == 0


async def test_body_that_moves_may_take_longer_than_the_idle_time(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 40\r\n\r\n")
        for _ in range(40):
            await asyncio.sleep(0.01)  # the trickle itself
            await peer.say(b"x")
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [], timeouts=Timeouts(idle=0.3))
    assert len(await response.read(100)) == 40
    assert pool.idle == 1


async def test_slow_reader_is_not_held_against_the_upstream(upstream, connect):
    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    response = await pool.request("GET", b"/", [], timeouts=BRIEF_IDLE)
    await asyncio.sleep(0.2)  # four idle times
    assert len(await response.read(1 << 22)) == 2_000_000


async def test_slow_source_is_not_held_against_the_upstream(upstream, connect):
    async def script(peer):
        await peer.head()
        assert await peer.reader.readexactly(2) == b"ab"
        await peer.answer()
        await peer.client_closes()

    async def slow():
        yield b"a"
        await asyncio.sleep(0.2)  # four idle times
        yield b"b"

    pool = connect((await upstream(script)).url)
    assert (await pool.request("PUT", b"/", [], slow(), body_length=2, timeouts=BRIEF_IDLE)).complete == b"ok"


@pytest.mark.parametrize("as_stream", [False, True])
async def test_upstream_that_takes_no_byte_of_a_body(upstream, connect, as_stream):
    done = asyncio.Event()

    async def script(peer):
        await peer.head()
        await done.wait()

    async def endless():
        while True:
            yield b"x" * 65536

    pool = connect((await upstream(script)).url)
    body = endless() if as_stream else b"x" * 50_000_000
    async with asyncio.timeout(5):
        with pytest.raises(IdleTimeout):
            await pool.request("PUT", b"/", [], body, timeouts=Timeouts(idle=0.1))
    done.set()
    assert pool.in_flight == 0


async def test_connection_that_is_not_accepted(connect):
    """A listener whose backlog is full drops SYNs: connecting takes as long as it is allowed to."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    pool = connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
    with pytest.raises(ConnectTimeout):
        await pool.request("GET", b"/", [], timeouts=BRIEF)
    assert pool.in_flight == 0
    for sock in (listener, *fillers):
        sock.close()


async def test_refused_connection(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    pool = connect(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed):
        await pool.request("GET", b"/", [])
    assert ConnectFailed.never_sent
    assert pool.in_flight == 0


async def test_name_that_cannot_be_one_is_a_failed_connection(connect):
    pool = connect("http://a..b")
    with pytest.raises(ConnectFailed):
        await pool.request("GET", b"/", [])
    assert pool.in_flight == 0


async def test_all_faults_of_an_upstream_share_a_base():
    for error in (
        PoolExhausted,
        ConnectFailed,
        ConnectTimeout,
        FirstByteTimeout,
        IdleTimeout,
        UpstreamClosed,
        BadAnswer,
    ):
        assert issubclass(error, UpstreamError)


# --- cancellation and closing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [b"", HEAD + b"Content-Length: 5\r\n\r\nab"])
async def test_cancelled_request_closes_its_connection(upstream, connect, answered):
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer):
        await peer.head()
        await peer.say(answered)
        asked.set()
        await peer.client_closes()
        closed.set()

    pool = connect((await upstream(script)).url)

    async def read():
        response = await pool.request("GET", b"/", [])
        return await response.read(10)

    task = asyncio.create_task(read())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (pool.idle, pool.in_flight) == (0, 0)
    async with asyncio.timeout(1):
        await closed.wait()


async def test_cancelled_while_connecting(connect):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    pool = connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
    task = asyncio.create_task(pool.request("GET", b"/", []))
    await until(lambda: pool.in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.in_flight == 0
    for sock in (listener, *fillers):
        sock.close()


async def test_cancelled_upload_ends_its_source(upstream, connect):
    begun, ended = asyncio.Event(), asyncio.Event()

    async def script(peer):
        await peer.client_closes()

    async def source():
        try:
            yield b"x"
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    pool = connect((await upstream(script)).url)
    task = asyncio.create_task(pool.request("PUT", b"/", [], source()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.in_flight == 0
    async with asyncio.timeout(1):
        await ended.wait()


async def test_cancellation_at_every_turn_leaks_nothing_and_mixes_nothing_up(upstream, connect):
    """Whatever the turn of the loop a request is cancelled in, later requests get their own answers."""

    async def script(peer):
        while True:
            target = (await peer.head()).split()[1]
            await peer.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(target))
            await peer.say(target)

    server = await upstream(script)
    pool = connect(server.url, connections_max=20)

    async def get(number):
        response = await pool.request("GET", b"/%d" % number, [])
        try:
            return await response.read(100)
        finally:
            response.close()

    for turns in range(60):
        task = asyncio.create_task(get(turns))
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        task.cancel()
        other = await get(turns + 1000)
        assert other == b"/%d" % (turns + 1000)
        await asyncio.gather(task, return_exceptions=True)
        assert pool.in_flight == 0


async def test_cancelled_at_every_turn_of_connecting_leaves_no_connection_behind(upstream, connect):
    server = await upstream(always_ok)
    for turns in range(20):
        pool = connect(server.url)
        task = asyncio.create_task(pool.request("GET", b"/", []))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(0.5):  # less than closing takes when a connection was forgotten
            await pool.close()


async def test_closing_the_pool_does_not_hang_on_a_connection_the_loop_forgot(upstream, connect):
    """A loop that closes a socket and tells nobody, as uvloop does when a connect is cancelled late."""
    pool = connect((await upstream(always_ok)).url)
    await pool.request("GET", b"/", [])
    forgotten = Connection(pool)
    pool._connections.add(forgotten)
    pool.in_flight += 1
    forgotten.connection_made(SilentTransport())
    async with asyncio.timeout(5):
        await asyncio.gather(pool.close(), pool.close())
    pool.lost(forgotten)


async def test_closing_the_pool_ends_what_is_in_flight(upstream, connect):
    async def script(peer):
        if (await peer.head()).startswith(b"GET"):
            await peer.answer()
        await peer.client_closes()

    pool = connect((await upstream(script)).url)
    await pool.request("GET", b"/", [])
    task = asyncio.create_task(pool.request("PUT", b"/", []))
    await until(lambda: pool.in_flight == 1)
    other = asyncio.create_task(pool.request("PUT", b"/", []))
    await until(lambda: pool.in_flight == 2)
    async with asyncio.timeout(2):
        await pool.close()
    for each in (task, other):
        with pytest.raises(UpstreamError):
            await each
    assert (pool.idle, pool.in_flight) == (0, 0)
    with pytest.raises(ConnectFailed):
        await pool.request("GET", b"/", [])


async def test_no_socket_is_left_open(upstream, connect):
    def sockets() -> int:
        return sum(
            str(link.readlink()).startswith("socket:") for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
        )

    async def script(peer):
        await peer.head()
        await peer.say(HEAD + b"Content-Length: 5\r\n\r\nab")
        await peer.client_closes()

    server = await upstream(script)
    before = sockets()
    pool = connect(server.url)
    answers = [await pool.request("GET", b"/", []) for _ in range(20)]
    assert sockets() >= before + 40
    for answer in answers:
        answer.close()
    await pool.close()
    await until(lambda: sockets() <= before)


# --- other addresses ------------------------------------------------------------------------------------------------


async def test_unix_socket(tmp_path, connect):
    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nHost: localhost\r\n" in head
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "upstream.sock")
    pool = connect(f"unix://{tmp_path}/upstream.sock")
    assert (await pool.request("GET", b"/", [])).complete == b"ok"
    await pool.close()
    server.close()
    with pytest.raises(ConnectFailed):
        await connect(f"unix://{tmp_path}/none.sock").request("GET", b"/", [])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost and its key, in one file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
async def tls_port(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    runner = web.AppRunner(echo_application())
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_tls_carries_large_bodies_both_ways(tls_port, certificate, connect):
    pool = connect(f"https://localhost:{tls_port}", tls=ssl.create_default_context(cafile=certificate))
    body = b"x" * 3_000_000
    for sent in (body, pieces(body)):
        response = await pool.request("POST", b"/?stream=1", [], sent, body_length=len(body))
        await asyncio.sleep(0.02)  # to let reading pause
        assert await response.read(1 << 24) == body
    assert (pool.idle, pool.in_flight) == (1, 0)


async def test_untrusted_certificate_is_a_failed_connection(tls_port, connect):
    pool = connect(f"https://localhost:{tls_port}")
    with pytest.raises(ConnectFailed, match="certificate"):
        await pool.request("GET", b"/", [])
    assert pool.in_flight == 0
