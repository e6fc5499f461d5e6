"""Answers are compressed for those who ask, never twice, never a stream, and never without saying so."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from edge.policies.compression import BYTES_MIN, accepts_gzip
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

TEXT = b'{"items": [' + b", ".join(b'{"id": %d, "name": "reports"}' % number for number in range(100)) + b"]}"
LONG = TEXT * 400  # about a megabyte: it arrives in pieces
GZIP = {"Accept-Encoding": "gzip, deflate, br"}


def answering(body: bytes = TEXT, status: int = 200, kind: str = "application/json", **headers: str) -> Any:
    async def answer(_request: web.BaseRequest) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, headers={"Content-Type": kind, **named})

    return answer


async def fetched(edge: Edge, headers: dict[str, str] = GZIP, method: str = "GET") -> tuple[Any, bytes]:
    async with edge.client.request(method, "/", headers=headers) as response:
        return response, await response.read()


async def test_text_is_compressed_for_who_asks(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering())))
    response, body = await fetched(edge)
    assert gzip.decompress(body) == TEXT
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers.getall("Content-Length") == [str(len(body))]
    assert response.headers.getall("Vary") == ["Accept-Encoding"]
    assert response.headers["Content-Type"] == "application/json"
    assert len(body) < len(TEXT) / 4


async def test_who_does_not_ask_gets_it_plain_and_caches_are_told(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(answering())))
    for headers in ({"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "br"}):
        response, body = await fetched(edge, headers)
        assert body == TEXT
        assert "Content-Encoding" not in response.headers
        assert response.headers["Vary"] == "Accept-Encoding"
    raw = await edge.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.endswith(b"\r\n\r\n" + TEXT)
    assert b"\r\nVary: Accept-Encoding\r\n" in raw


async def test_large_answer_is_compressed_as_it_arrives(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering(LONG))))
    response, body = await fetched(edge)
    assert response.headers["Content-Encoding"] == "gzip"
    assert "Content-Length" not in response.headers
    assert gzip.decompress(body) == LONG


async def test_answer_cut_short_is_no_whole_gzip(start_edge: StartEdge, start_raw_upstream: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"

    async def truncate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head % (2 * len(LONG)) + LONG)
        await writer.drain()

    edge = await start_edge(table(await start_raw_upstream(truncate)))
    raw = await edge.raw(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert not raw.endswith(b"0\r\n\r\n")


async def test_client_that_leaves_ends_the_upstream(start_edge: StartEdge, start_raw_upstream: Any) -> None:
    gone = asyncio.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head % len(LONG) + LONG[:200_000])
        assert await reader.read() == b""
        gone.set()

    edge = await start_edge(table(await start_raw_upstream(slow)))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await asyncio.wait_for(gone.wait(), 10)


async def test_reader_of_http_1_0_can_tell_a_cut_answer(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering(LONG))))
    raw = await edge.raw(b"GET / HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(LONG) in raw
    assert raw.endswith(LONG)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answering(b"x" * (BYTES_MIN - 1)), id="small"),
        pytest.param(answering(kind="image/png"), id="an image"),
        pytest.param(answering(kind="text/event-stream"), id="events"),
        pytest.param(answering(kind="application/octet-stream"), id="bytes"),
        pytest.param(answering(zlib.compress(TEXT), Content_Encoding="deflate"), id="compressed already"),
        pytest.param(answering(Cache_Control="public, no-transform"), id="not to be transformed"),
        pytest.param(answering(Content_Digest="sha-256=:AAAA:"), id="with a digest"),
        pytest.param(answering(status=206, Content_Range="bytes 0-99/100"), id="a part"),
    ],
)
async def test_what_gains_nothing_or_must_not_change_passes_as_it_is(
    start_edge: StartEdge, start_upstream: StartUpstream, answer: Any
) -> None:
    expected = await answer(None)
    edge = await start_edge(table(await start_upstream(answer)))
    response, body = await fetched(edge)
    assert body == expected.body
    assert response.headers.get("Content-Encoding") == expected.headers.get("Content-Encoding")
    assert response.headers["Content-Length"] == str(len(body))


async def test_client_can_forbid_any_change(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering())))
    _, body = await fetched(edge, {**GZIP, "Cache-Control": "no-transform"})
    assert body == TEXT


async def test_stream_passes_piece_by_piece(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    """Text without a known end: its reader waits for each piece."""
    read = asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(TEXT)
        await read.wait()
        await response.write(TEXT)
        return response

    edge = await start_edge(table(await start_upstream(stream)))
    async with edge.client.get("/", headers=GZIP) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.content.readexactly(len(TEXT)) == TEXT
        read.set()
        assert await response.read() == TEXT


async def test_strong_etag_becomes_weak_and_matches_again(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def tagged(request: web.BaseRequest) -> web.Response:
        headers = {"ETag": '"1"', "Accept-Ranges": "bytes", "Content-Type": "text/css"}
        if request.headers.get("If-None-Match", "").removeprefix("W/") == '"1"':  # weakly, RFC 9110 section 13.1.2
            return web.Response(status=304, headers=headers)
        return web.Response(body=TEXT, headers=headers)

    edge = await start_edge(table(await start_upstream(tagged)))
    response, _ = await fetched(edge)
    assert response.headers["ETag"] == 'W/"1"'
    assert "Accept-Ranges" not in response.headers
    again, body = await fetched(edge, {**GZIP, "If-None-Match": response.headers["ETag"]})
    assert again.status == 304
    assert body == b""
    assert again.headers["ETag"] == 'W/"1"'
    assert again.headers["Vary"] == "Accept-Encoding"
    plain, _ = await fetched(edge, {"Accept-Encoding": "identity", "If-None-Match": '"1"'})
    assert plain.status == 304
    assert plain.headers["ETag"] == '"1"'


async def test_head_tells_what_get_would_send(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering(ETag='"1"'))))
    response, body = await fetched(edge, method="HEAD")
    assert body == b""
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["ETag"] == 'W/"1"'
    assert "Content-Length" not in response.headers  # known only once the body is compressed
    plain, _ = await fetched(edge, {"Accept-Encoding": "identity"}, method="HEAD")
    assert plain.headers["Content-Length"] == str(len(TEXT))
    assert "Content-Encoding" not in plain.headers


async def test_vary_that_says_it_is_not_repeated(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    edge = await start_edge(table(await start_upstream(answering(Vary="Origin, accept-encoding"))))
    response, _ = await fetched(edge)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers.getall("Vary") == ["Origin, accept-encoding"]


async def test_own_errors_stay_plain(start_edge: StartEdge) -> None:
    edge = await start_edge(table("http://127.0.0.1:1", auth='"required"'))
    response, body = await fetched(edge)
    assert response.status == 401
    assert body.startswith(b"{")


@pytest.mark.parametrize(
    ("setting", "options", "is_compressed"),
    [("off", {}, False), ("off", {"compress": "true"}, True), ("on", {"compress": "false"}, False)],
)
async def test_setting_is_the_default_and_a_route_decides(
    start_edge: StartEdge, start_upstream: StartUpstream, setting: str, options: dict[str, str], is_compressed: bool
) -> None:
    routes = table(await start_upstream(answering()), **options)
    edge = await start_edge(routes, COMPRESSION=setting)
    response, _ = await fetched(edge)
    assert ("Content-Encoding" in response.headers) is is_compressed
    assert ("Vary" in response.headers) is is_compressed


# --- Accept-Encoding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip ; q=0.001", True),
        ("*", True),
        ("br;q=1.0, *;q=0.1", True),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("identity, gzip;q=0.5", False),
        ("gzip, gzip;q=0", False),
        ("", False),
        ("br, zstd", False),
        ("gzipped", False),
        ("gzip;q=2", False),
        ("gzip;q=0.1234", False),
        ("gzip;level=9", False),
        ("gzip deflate", False),
    ],
)
def test_accept_encoding_is_read_by_its_rules(value: str, accepted: bool) -> None:
    assert accepts_gzip(value) is accepted


_coding = st.sampled_from(["gzip", "GZIP", "br", "deflate", "identity", "*", "zstd"])
_thousandths = st.integers(0, 1000)
_members = st.lists(st.tuples(_coding, _thousandths), max_size=6, unique_by=lambda member: member[0].lower())
_space = st.sampled_from(["", " ", "\t", "  "])


@given(members=_members, space=_space)
@example(members=[("gzip", 0), ("*", 1000)], space="")
def test_weights_decide_whatever_their_order_and_spelling(members: list[tuple[str, int]], space: str) -> None:
    value = f"{space},{space}".join(
        f"{coding}{space};{space}q={weight // 1000}.{weight % 1000:03}" for coding, weight in members
    )
    weights = {coding.lower(): weight for coding, weight in members}
    of_gzip = weights.get("gzip", weights.get("*", 0))
    assert accepts_gzip(value) is (of_gzip > 0 and of_gzip >= weights.get("identity", 0))


@given(st.text(max_size=200))
def test_nothing_a_client_sends_breaks_the_reading(value: str) -> None:
    assert accepts_gzip(value) in (True, False)
    if "gzip" not in value.lower() and "*" not in value:
        assert accepts_gzip(value) is False
