"""A WebSocket through the edge: the bytes of both sides arrive unchanged, and each end reaches the other."""

import asyncio
import base64
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web

from tests.edge.access import access_lines
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.edge.streams.wire import (
    ACCEPT,
    BINARY,
    CLOSE,
    PING,
    PONG,
    SWITCHED,
    TEXT,
    Joined,
    Peer,
    StartServer,
    code_of,
    frame,
    opening,
)

MEGABYTE = 1024 * 1024


async def echo(request: web.BaseRequest) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0, protocols=("chat", "news"))
    await socket.prepare(request)
    async for message in socket:
        await (socket.send_str if message.type is WSMsgType.TEXT else socket.send_bytes)(message.data)
    return socket


# --- what passes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [0, 15], ids=["plain", "permessage-deflate"])
async def test_messages_of_a_library_are_echoed(
    start_edge: StartEdge, start_upstream: StartUpstream, compress: int
) -> None:
    edge = await start_edge(table(await start_upstream(echo), websocket="true"))
    async with edge.client.ws_connect("/", compress=compress, protocols=("news",), max_msg_size=0) as socket:
        assert socket.protocol == "news"
        assert socket.compress == compress
        for size in (0, 1, 125, 126, 65535, 65536, MEGABYTE):
            await socket.send_bytes(body := os.urandom(size))
            assert await socket.receive_bytes(timeout=10) == body
        await socket.send_str("žluťoučký kůň")
        assert await socket.receive_str(timeout=10) == "žluťoučký kůň"
        await socket.close()
        assert socket.close_code == 1000


CONVERSATIONS = {
    "empty text": frame(TEXT),
    "125 bytes": frame(TEXT, b"x" * 125),
    "126 bytes": frame(BINARY, b"x" * 126),
    "65535 bytes": frame(BINARY, b"x" * 65535),
    "65536 bytes": frame(BINARY, b"x" * 65536),
    "1 MiB": frame(BINARY, b"x" * MEGABYTE),
    "1 MiB in fragments": frame(BINARY, b"x" * 65536, first=0) + frame(0, b"x" * 65536, first=0) * 14 + frame(0, b"x"),
    "many at once": frame(TEXT, b"hello") * 200,
    "fragments with a ping between": frame(TEXT, b"a", first=0) + frame(PING, b"b") + frame(0, b"c"),
    "empty fragments": frame(TEXT, first=0) + frame(0, first=0) + frame(0),
    "ping and pong": frame(PING, b"p" * 125) + frame(PONG, b"unasked"),
    "a ping too long": frame(PING, b"p" * 126),
    "a mask of zeros": frame(TEXT, b"plain to see", mask=bytes(4)),
    "reserved opcodes": frame(3, b"x") + frame(11, b"y"),
    "reserved bits": frame(TEXT, b"x", first=0xF0),
    "a fragment of nothing": frame(0, b"x"),
    "invalid UTF-8": frame(TEXT, b"\xce\xba\xed\xa0\x80"),
    "a length in too many bytes": b"\x82\xff" + (3).to_bytes(8) + bytes(4) + b"abc",
    "close without code": frame(CLOSE),
    "close with half a code": frame(CLOSE, b"\x03"),
    "close with a reserved code": frame(CLOSE, (1005).to_bytes(2)),
    "close with a reason": frame(CLOSE, (1000).to_bytes(2) + "auf Wiedersehen, schöne Welt".encode()),
    "frames behind a close": frame(CLOSE, (1000).to_bytes(2)) + frame(TEXT, b"late"),
}


async def test_every_kind_of_frame_passes_unchanged_both_ways(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, servers = await start_server()
    edge = await start_edge(table(url, websocket="true", stream="{ per_caller = 100 }"))
    for name, data in CONVERSATIONS.items():
        client, server = await join(edge), await servers.peer()
        client.send(data)
        assert await server.read(len(data)) == data, name
        server.send(data)
        assert await client.read(len(data)) == data, name


@pytest.mark.parametrize("size", [2, 130, 70_000])
async def test_frames_that_come_byte_by_byte_pass_as_they_come(pair: tuple[Edge, Peer, Peer], size: int) -> None:
    _, client, server = pair
    data = frame(BINARY, os.urandom(size)) + frame(TEXT, b"next")
    for position in range(16):
        client.send(data[position : position + 1])
        assert await server.read(1) == data[position : position + 1]
    client.send(data[16:])
    assert await server.read(len(data) - 16) == data[16:]


async def test_both_may_speak_at_once(pair: tuple[Edge, Peer, Peer]) -> None:
    _, client, server = pair
    up, down = frame(BINARY, os.urandom(4 * MEGABYTE)), frame(BINARY, os.urandom(4 * MEGABYTE), mask=b"")
    client.send(up)
    server.send(down)
    assert await asyncio.gather(server.read(len(up)), client.read(len(down))) == [up, down]


async def test_what_comes_behind_the_handshake_is_not_lost(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    greeting = frame(TEXT, b"welcome", mask=b"")
    url, server = await start_server(answer=SWITCHED + greeting)
    edge = await start_edge(table(url, websocket="true"))
    early = frame(BINARY, os.urandom(MEGABYTE))
    client = await join(edge, opening() + early)
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in client.head
    assert await client.read(len(greeting)) == greeting
    assert await (await server.peer()).read(len(early)) == early


async def test_handshake_crosses_whole_and_with_what_the_edge_adds(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server(answer=SWITCHED[:-2] + b"Set-Cookie: a=b\r\nSec-WebSocket-Protocol: chat\r\n\r\n")
    edge = await start_edge(table(url, "/ws", websocket="true", strip_prefix="true"))
    asked = {"Sec_WebSocket_Protocol": "news, chat", "Sec_WebSocket_Extensions": "x-own; a=1", "Cookie": "c=d"}
    client = await join(edge, opening("/ws/room?x=1", **asked))
    head = (await server.peer()).head.decode()
    assert head.startswith("GET /room?x=1 HTTP/1.1\r\n")
    for line in ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: news, chat", "Cookie: c=d"):
        assert head.count(f"\r\n{line}\r\n") == 1, line
    assert "\r\nSec-WebSocket-Extensions: x-own; a=1\r\n" in head
    assert "\r\nX-Forwarded-For: 127.0.0.1\r\n" in head
    lines = client.head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    for line in ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: chat", "Set-Cookie: a=b"):
        assert lines.count(line) == 1, line
    assert any(line.startswith("X-Request-ID: req_") for line in lines)


# --- what does not ------------------------------------------------------------------------------------------------


async def test_upgrade_elsewhere_is_a_plain_request(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def show(request: web.BaseRequest) -> web.Response:
        return web.json_response([name.lower() for name in request.headers])

    edge = await start_edge(table(await start_upstream(show), "/plain") + _more("/ws", websocket="true"))
    for path, upgrade in (("/plain", "websocket"), ("/ws", "h2c"), ("/ws", "websocket, h2c")):
        answer = await edge.raw(opening(path, Upgrade=upgrade, Connection="Upgrade, close"))
        assert answer.startswith(b"HTTP/1.1 200 "), path
        assert b'"upgrade"' not in answer
        assert b'"connection"' not in answer


def _more(path: str, **options: str) -> str:
    """One more route of the same table."""
    text = table("", path, **options)
    return text[text.index("[[route]]") :]


REFUSED = {
    "another method": (opening().replace(b"GET", b"PUT"), 400),
    "a body": (opening(Content_Length="3") + b"abc", 400),
    "HTTP/1.0": (opening().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "no Connection": (opening(Connection="keep-alive"), 400),
    "no key": (opening(Sec_WebSocket_Key=""), 400),
    "a short key": (opening(Sec_WebSocket_Key=base64.b64encode(bytes(15)).decode()), 400),
    "a key that is no base64": (opening(Sec_WebSocket_Key="?" * 22 + "=="), 400),
    "two keys": (opening().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"), 400),
    "no version": (opening(Sec_WebSocket_Version=""), 426),
    "another version": (opening(Sec_WebSocket_Version="8"), 426),
    "a page of another site": (opening(Origin="https://evil.test"), 403),
    "a page of nowhere": (opening(Origin="null"), 403),
    "a page of a name that ends alike": (opening(Origin="https://not-x"), 403),
}


async def test_faulty_handshake_reaches_no_upstream(
    start_edge: StartEdge, start_upstream: StartUpstream, join: Joined
) -> None:
    async def never(_request: web.BaseRequest) -> web.Response:
        pytest.fail("reached the upstream")

    edge = await start_edge(table(await start_upstream(never), websocket="true"), ALLOWED_ORIGINS="https://app.test")
    for name, (sent, status) in REFUSED.items():
        answer = (await join(edge, sent)).head.decode()
        assert answer.startswith(f"HTTP/1.1 {status} "), name
        assert ("\r\nSec-WebSocket-Version: 13\r\n" in answer) == (status == 426), name


async def test_known_origins_may_open_one(start_edge: StartEdge, start_server: StartServer, join: Joined) -> None:
    url, _ = await start_server()
    edge = await start_edge(table(url, websocket="true"), ALLOWED_ORIGINS="https://app.test")
    for origin in ("https://app.test", "http://x", "https://X"):
        assert (await join(edge, opening(Origin=origin))).head.startswith(b"HTTP/1.1 101 "), origin


async def test_upstreams_refusal_is_a_plain_answer(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def refuse(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=410, text="no room here")

    edge = await start_edge(table(await start_upstream(refuse), websocket="true"))
    with pytest.raises(WSServerHandshakeError) as refused:
        await edge.client.ws_connect("/")
    assert refused.value.status == 410
    twice = opening() + opening(Connection="Upgrade, close").replace(b"GET / ", b"GET /again ")
    assert (await edge.raw(twice)).count(b"no room here") == 2  # the connection goes on as HTTP


WRONG = {
    "the key of another": SWITCHED.replace(ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "no answer to the key": SWITCHED.replace(b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n", b""),
    "another protocol": SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
    "a subprotocol that nobody offered": SWITCHED[:-2] + b"Sec-WebSocket-Protocol: mqtt\r\n\r\n",
    "two subprotocols": SWITCHED[:-2] + b"Sec-WebSocket-Protocol: chat\r\n" * 2 + b"\r\n",
}


async def test_a_101_that_does_not_fit_is_502(start_edge: StartEdge, start_server: StartServer, join: Joined) -> None:
    for name, answer in WRONG.items():
        url, server = await start_server(answer=answer)
        edge = await start_edge(table(url, websocket="true"))
        client = await join(edge, opening(Sec_WebSocket_Protocol="chat"))
        assert client.head.startswith(b"HTTP/1.1 502 "), name
        assert await (await server.peer()).rest(1) == b"", name


async def test_a_101_that_nobody_asked_for_is_502(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true") + _more("/plain"))
    for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", opening("/plain")):
        assert (await join(edge, sent)).head.startswith(b"HTTP/1.1 502 ")
        assert await (await server.peer()).rest(1) == b""


# --- how it ends --------------------------------------------------------------------------------------------------


async def test_either_side_gone_is_told_to_the_other_within_a_second(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true"))
    for leave in (Peer.reset, lambda peer: peer.writer.close(), lambda peer: peer.writer.write_eof()):
        client = await join(edge)
        upstream = await server.peer()
        leave(client)
        assert await upstream.rest(1) == b""
        client = await join(edge)
        upstream = await server.peer()
        leave(upstream)
        assert await client.rest(1) == b""


async def test_half_closed_side_still_hears_what_the_other_has_to_say(pair: tuple[Edge, Peer, Peer]) -> None:
    _, client, server = pair
    asked, answer = frame(TEXT, b"last words"), frame(BINARY, os.urandom(8 * MEGABYTE), mask=b"")
    client.send(asked)
    client.writer.write_eof()
    assert await server.rest() == asked
    server.send(answer)
    server.writer.write_eof()
    assert await client.rest() == answer


async def test_last_bytes_before_a_close_arrive(pair: tuple[Edge, Peer, Peer]) -> None:
    _, client, server = pair
    data = frame(BINARY, os.urandom(MEGABYTE), mask=b"") + frame(CLOSE, (1000).to_bytes(2), mask=b"")
    server.send(data)
    server.writer.close()
    assert await client.rest() == data


async def test_unmasked_frame_ends_the_connection_with_1002(pair: tuple[Edge, Peer, Peer]) -> None:
    _, client, server = pair
    good = frame(TEXT, b"masked")
    client.send(good + frame(TEXT, b"plain", mask=b"") + good)
    assert await client.close_code(2) == 1002
    seen = await server.rest(2)
    assert seen[: len(good)] == good
    assert code_of(seen[len(good) :]) == 1002


async def test_worker_that_closes_says_1001_to_both_and_waits_for_no_one(
    pair: tuple[Edge, Peer, Peer], join: Joined
) -> None:
    edge, client, server = pair
    client.send(frame(TEXT, b"hello"))
    await server.read(len(frame(TEXT, b"hello")))
    edge.runtime.closing.set()
    assert await asyncio.gather(client.close_code(2), server.close_code(2)) == [1001, 1001]
    late = await join(edge)  # a lame duck still takes it
    assert await late.close_code(2) == 1001


async def test_no_frame_is_broken_by_the_close_of_a_worker(pair: tuple[Edge, Peer, Peer]) -> None:
    edge, client, server = pair
    whole = frame(BINARY, os.urandom(100_000), mask=b"")
    server.send(whole[:50_000])
    assert await client.read(50_000) == whole[:50_000]
    edge.runtime.closing.set()
    assert code_of(await server.read(8)) == 1001  # nothing is on its way there
    server.send(whole[50_000:] + frame(TEXT, b"too late", mask=b""))
    assert await client.read(len(whole) - 50_000) == whole[50_000:]
    assert await client.close_code(2) == 1001


async def test_half_a_frame_is_never_followed_by_a_close_frame(pair: tuple[Edge, Peer, Peer]) -> None:
    edge, client, server = pair
    for part in (b"\x82", b"\x7e\x01"):  # the first byte of a head, then three of its four
        server.send(part)
        assert await client.read(len(part)) == part
    edge.runtime.closing.set()
    assert await client.rest(2) == b""


async def test_close_of_the_client_is_not_followed_by_another(pair: tuple[Edge, Peer, Peer]) -> None:
    edge, client, server = pair
    close = frame(CLOSE, (1000).to_bytes(2))
    client.send(close)
    assert await server.read(len(close)) == close
    edge.runtime.closing.set()
    assert await server.rest(2) == b""
    assert await client.close_code(2) == 1001


async def test_endless_frame_does_not_hold_a_worker(pair: tuple[Edge, Peer, Peer], monkeypatch: Any) -> None:
    edge, client, server = pair
    monkeypatch.setattr("edge.upstream.tunnel._ENDING_SECONDS", 0.3)
    client.send(b"\x82\xff" + (2**62).to_bytes(8) + bytes(4))
    await server.read(14)
    edge.runtime.closing.set()

    async def drip() -> None:
        while True:
            client.send(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert set(await server.rest(3)) == set(b"x")
    dripping.cancel()


async def test_frames_a_client_sends_after_the_edge_has_closed_go_nowhere(pair: tuple[Edge, Peer, Peer]) -> None:
    edge, client, server = pair
    edge.runtime.closing.set()
    assert code_of(await client.read(4)) == 1001
    client.send(frame(TEXT, b"late") + frame(CLOSE, (1001).to_bytes(2)))
    assert await server.close_code(2) == 1001
    assert await client.rest(2) == b""


# --- bounds -------------------------------------------------------------------------------------------------------


async def test_reader_that_stalls_stops_the_sender_and_is_cut_off(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true", stream="{ idle = 0.5 }"))
    client, upstream = await join(edge), await server.peer()
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 64 * MEGABYTE:
            upstream.send(frame(BINARY, bytes(65536), mask=b""))
            await asyncio.wait_for(upstream.writer.drain(), 10)
            sent += 65536
    # What was taken lies in socket buffers and at most some 128 KiB in the edge.
    assert sent < 32 * MEGABYTE
    client.reset()


async def test_more_at_once_than_a_caller_may_have_are_429(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true", stream="{ per_caller = 2 }"))
    first, _ = await join(edge), await join(edge)
    for peer in (await server.peer(), await server.peer()):
        assert peer.head
    refused = await join(edge)
    assert refused.head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 5\r\n" in refused.head
    first.reset()
    async with asyncio.timeout(5):
        while not (next_one := await join(edge)).head.startswith(b"HTTP/1.1 101 "):
            await next_one.close()  # the edge has not seen the first one go yet
            await asyncio.sleep(0.01)


async def test_time_of_a_connection_is_bounded(start_edge: StartEdge, start_server: StartServer, join: Joined) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true", stream="{ seconds = 0.3 }"))
    client = await join(edge)
    upstream = await server.peer()
    assert await asyncio.gather(client.close_code(3), upstream.close_code(3)) == [1013, 1013]


async def test_quiet_connection_ends_and_a_ping_keeps_one(
    start_edge: StartEdge, start_server: StartServer, join: Joined
) -> None:
    url, server = await start_server()
    edge = await start_edge(table(url, websocket="true", stream="{ idle = 0.6 }"))
    quiet, alive = await join(edge), await join(edge)
    ended = asyncio.create_task(quiet.close_code(5))
    pings = 0
    while not ended.done():
        alive.send(frame(PING))
        pings += 1
        await asyncio.sleep(0.05)
    assert ended.result() == 1013
    peers = [await server.peer(), await server.peer()]
    data = await asyncio.gather(*(peer.reader.read(65536) for peer in peers))
    assert frame(PING) * (pings - 1) in b"".join(data)


async def test_connection_leaves_one_access_line_and_no_trace(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(echo), websocket="true"))
    async with edge.client.ws_connect("/") as socket:
        assert _in_flight(edge) == 1
        await socket.send_str("12345")
        await socket.receive_str(timeout=5)
    (line,) = await access_lines(tmp_path, 1)
    assert '"status":101' in line
    assert '"bytes":11,' in line  # a text frame of 7 bytes and a close frame of 4
    assert _in_flight(edge) == 0


def _in_flight(edge: Edge) -> float:
    return edge.runtime.metrics.registry.get_sample_value("http_requests_in_flight", {"service": "edge"}) or 0
