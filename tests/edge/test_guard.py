"""What a client may cost before it has asked for anything: time, bytes, pipelined requests and connections."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(_request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def connected(edge: Edge) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    line, *fields = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in fields)}
    return int(line.split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


def counted(families: list[object], name: str) -> dict[str, float]:
    """A metric's samples by the value of their first label."""
    samples = [sample for family in families for sample in family[3]]  # type: ignore[index]
    return {(labels[0][1] if labels else ""): value for sample, labels, value in samples if sample == name}


async def test_head_that_drips_is_answered_408_at_its_deadline(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)), EDGE_HEADER_SECONDS="0.4")
    async with connected(edge) as (reader, writer):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        said = asyncio.create_task(answer(reader))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        while not said.done():
            writer.write(b"A: b\r\n")  # a byte now and then does not move the deadline
            await asyncio.wait([said], timeout=0.05)
        status, headers, body = said.result()
        assert (status, headers["connection"], json.loads(body)["error"]) == (408, "close", "RequestTimeout")
        assert loop.time() - begun >= 0.4
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_connection_that_says_nothing_is_closed_without_a_word(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)), EDGE_HEADER_SECONDS="0.2")
    async with connected(edge) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_second_head_on_a_connection_has_a_deadline_too(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)), EDGE_HEADER_SECONDS="0.2")
    async with connected(edge) as (reader, writer):
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        writer.write(GET[:20])
        assert (await answer(reader))[0] == 408


async def test_time_between_requests_is_the_keep_alive_time_not_the_heads(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    seconds = {"EDGE_HEADER_SECONDS": "0.2", "EDGE_KEEP_ALIVE_SECONDS": "1"}
    edge = await start_edge(table(await start_upstream(hello)), **seconds)
    async with connected(edge) as (reader, writer):
        loop = asyncio.get_running_loop()
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        idle_since = loop.time()
        writer.write(b"\r\n")  # what some clients send behind a body; no head begins with it
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert loop.time() - idle_since >= 0.9


async def test_slow_upstream_is_no_slow_client(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.Response:
        reached.set()
        await go_on.wait()
        return web.Response(text="late")

    edge = await start_edge(table(await start_upstream(wait)), EDGE_HEADER_SECONDS="0.1", EDGE_KEEP_ALIVE_SECONDS="0.1")
    async with connected(edge) as (reader, writer):
        writer.write(GET)
        await asyncio.wait_for(reached.wait(), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 0.5)
        go_on.set()
        assert (await answer(reader))[2] == b"late"


async def test_body_that_drips_is_answered_408(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(hello), timeout="{ idle = 0.3 }"))
    async with connected(edge) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        said = asyncio.create_task(answer(reader))
        while not said.done():
            writer.write(b"x")  # never idle, and far below 512 bytes a second
            await asyncio.wait([said], timeout=0.05)
        assert said.result()[0] == 408


@pytest.mark.parametrize("is_busy", [False, True])
async def test_head_of_no_end_is_431_before_it_is_large(
    start_edge: StartEdge, start_upstream: StartUpstream, is_busy: bool
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.Response:
        reached.set()
        await go_on.wait()
        return web.Response()

    edge = await start_edge(table(await start_upstream(wait)))
    async with connected(edge) as (reader, writer):
        if is_busy:  # the endless head is behind a request that is being answered
            writer.write(GET)
            await asyncio.wait_for(reached.wait(), 5)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(8):
            writer.write(b"A%d: %b\r\n" % (number, b"a" * 10_000))
            await writer.drain()
        go_on.set()
        if is_busy:
            assert (await answer(reader))[0] == 200
        status, _, body = await answer(reader)
        assert (status, json.loads(body)["error"]) == (431, "HeadersTooLarge")


async def test_pipelined_requests_wait_in_the_socket(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.Response:
        reached.set()
        await go_on.wait()
        return web.Response()

    edge = await start_edge(table(await start_upstream(wait), "/slow"))
    async with connected(edge) as (reader, writer):
        writer.write(GET.replace(b"/ ", b"/slow ", 1))
        await asyncio.wait_for(reached.wait(), 5)
        sent, block = 0, GET * 2000
        is_taken = True
        while is_taken and sent < 64_000_000:
            writer.write(block)
            sent += len(block)
            is_taken = bool((await asyncio.wait([asyncio.create_task(writer.drain())], timeout=0.5))[0])
        assert sent < 16_000_000  # socket buffers, and little in the edge
        go_on.set()
        assert (await answer(reader))[0] == 200


async def test_request_before_garbage_in_the_same_packet_is_answered_first(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)))
    raw = await edge.raw(GET + b"\x00garbage\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+) ", raw) == [b"200", b"400"]


async def test_refusal_can_be_read_by_a_client_that_goes_on_sending(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)))

    # A blocking client in a thread: closing with bytes unread would reset the connection under its answer.
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
            received = sock.recv(65536)
            for _ in range(20):
                sock.sendall(b"x" * 10_000)
            return received + sock.recv(65536)

    assert (await asyncio.to_thread(talk)).startswith(b"HTTP/1.1 400 ")


async def test_connections_over_the_cap_get_503_and_make_room_when_one_leaves(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)), EDGE_CONNECTIONS_MAX="2")
    async with connected(edge) as (reader, writer), connected(edge) as (other_reader, other_writer):
        for one_reader, one_writer in ((reader, writer), (other_reader, other_writer)):
            one_writer.write(GET)
            assert (await answer(one_reader))[0] == 200
        async with connected(edge) as (third_reader, third_writer):
            third_writer.write(GET)
            status, headers, body = await answer(third_reader)
            assert (status, headers["connection"]) == (503, "close")
            assert int(headers["retry-after"]) >= 1
            assert json.loads(body)["error"] == "ServiceUnavailable"
            assert await asyncio.wait_for(third_reader.read(), 5) == b""
        families = await edge.runtime.merged_metrics()
        assert counted(families, "client_connections") == {"": 2}
        assert counted(families, "client_connections_refused_total") == {"worker": 1, "address": 0}
        writer.close()
        await writer.wait_closed()
        async with connected(edge) as (fourth_reader, fourth_writer):
            fourth_writer.write(GET)
            assert (await answer(fourth_reader))[0] == 200


async def test_connection_over_the_cap_that_says_nothing_does_not_stay(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(hello)), EDGE_CONNECTIONS_MAX="1")
    async with connected(edge) as (reader, writer):
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        async with connected(edge) as (silent, _):
            assert await asyncio.wait_for(silent.read(), 5) == b""


@pytest.mark.parametrize(("proxies", "status"), [("", 503), ("127.0.0.1", 200)])
async def test_one_address_is_capped_and_a_trusted_proxy_is_not(
    start_edge: StartEdge, start_upstream: StartUpstream, proxies: str, status: int
) -> None:
    caps = {"EDGE_CONNECTIONS_PER_ADDRESS_MAX": "1", "TRUSTED_PROXIES": proxies}
    edge = await start_edge(table(await start_upstream(hello)), **caps)
    async with connected(edge) as (reader, writer), connected(edge) as (second_reader, second_writer):
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        second_writer.write(GET)
        assert (await answer(second_reader))[0] == status
