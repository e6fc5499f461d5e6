"""Compresses answers with gzip for clients that ask for it (RFC 9110 sections 8.4.1.3 and 12.5.3).

Only text that is known to end: what has arrived already, or has a Content-Length. Anything else may be a stream whose
reader waits for every piece, and passes as it is.
"""

import asyncio
import re
import zlib
from collections.abc import Callable
from functools import lru_cache

from common.http1 import Response
from edge.exchange import Exchange
from edge.identity.caller import Header
from edge.upstream.headers import find, joined

# Below this there is little to save, and one packet is one packet.
BYTES_MIN = 1024
# The cheapest: level 5 takes 1.7 times as long to make a JSON body of 100 KB 8 % smaller, level 6 twice as long.
_LEVEL = 1
_GZIP = 31  # zlib's name for its largest window in gzip's frame
# 0.4 ms of the loop; what is larger is done in a thread, beside which the loop goes on.
_THREAD_BYTES_MIN = 64 * 1024
_TEXT = re.compile(
    rb"(?:text/(?!event-stream\b)[^;\s]+|application/(?:json|xml|javascript|yaml|x-ndjson|wasm)|[^;\s]+\+(?:json|xml))"
    rb"\s*(?:;.*)?",
    re.IGNORECASE,
)
# Who sends these speaks of the body as it is.
_FIXED = frozenset(
    {b"content-encoding", b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5"}
)
_OF_PLAIN_BODY = frozenset({b"content-length", b"accept-ranges"})
_VARY = (b"Vary", b"Accept-Encoding")
_MEMBER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")


async def compressed(exchange: Exchange, response: Response) -> Response:
    """`response` as the client is to get it; on most routes the same, because it is small."""
    whole = response.complete
    if whole and len(whole) < BYTES_MIN:
        return response
    if response.status == 304:
        response.headers = _as_asked(exchange, response.headers)
    elif is_compressible(response, whole):
        if wants_gzip(exchange):
            return await _packed(exchange, response, whole)
        response.headers = varying(response.headers)
    return response


async def _packed(exchange: Exchange, response: Response, whole: bytes | None) -> Response:
    if exchange.method == "HEAD":  # a GET would have told no length, or another
        return Response(response.status, response.reason, gzip_headers(response.headers), b"")
    if whole is not None:
        return Response(response.status, response.reason, gzip_headers(response.headers), await gzip(whole))
    if exchange.request.version < (1, 1):  # without a length its client could not tell a cut answer from a whole one
        response.headers = varying(response.headers)
        return response
    return _Packing(response)


class _Packing(Response):
    """An answer that is compressed as it arrives."""

    __slots__ = ("_packer", "_plain")

    def __init__(self, plain: Response) -> None:
        super().__init__(plain.status, plain.reason, gzip_headers(plain.headers), None)
        self._plain = plain
        self._packer: zlib._Compress | None = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    async def __anext__(self) -> bytes:
        while self._packer is not None:
            chunk = await anext(self._plain, b"")
            if not chunk:
                packer, self._packer = self._packer, None
                return packer.flush()
            if data := await _off_the_loop(self._packer.compress, chunk):
                return data
        raise StopAsyncIteration

    def close(self) -> None:
        self._plain.close()


async def gzip(body: bytes) -> bytes:
    return await _off_the_loop(_gzip, body)


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP)


async def _off_the_loop(pack: Callable[[bytes], bytes], data: bytes) -> bytes:
    return pack(data) if len(data) < _THREAD_BYTES_MIN else await asyncio.to_thread(pack, data)


def is_compressible(response: Response, whole: bytes | None) -> bool:
    """Whether a client that asks for it gets `response` compressed. Of an answer to HEAD, `whole` is empty."""
    if response.status in (101, 204, 206):
        return False
    size, is_text = len(whole or b""), False
    for name, value in response.headers:
        lowered = name.lower()
        if lowered in _FIXED or (lowered == b"cache-control" and b"no-transform" in value.lower()):
            return False
        if lowered == b"content-type":
            is_text = _is_text(value)
        elif lowered == b"content-length":
            size = size or int(value)
    return is_text and size >= BYTES_MIN


@lru_cache(maxsize=256)
def _is_text(content_type: bytes) -> bool:
    return _TEXT.fullmatch(content_type) is not None


def gzip_headers(headers: list[Header]) -> list[Header]:
    """`headers` for the compressed body, which is another representation: no strong ETag says that it is the same."""
    kept = [_weak(header) for header in headers if header[0].lower() not in _OF_PLAIN_BODY]
    return varying([*kept, (b"Content-Encoding", b"gzip")])


def varying(headers: list[Header]) -> list[Header]:
    """`headers` telling caches that the answer depends on Accept-Encoding."""
    vary = joined(headers, b"vary").lower()
    if vary and {name.strip() for name in vary.split(b",")} & {b"*", b"accept-encoding"}:
        return headers
    return [*headers, _VARY]


def _weak(header: Header) -> Header:
    name, value = header
    return (name, b"W/" + value) if value.startswith(b'"') and name.lower() == b"etag" else header


def _as_asked(exchange: Exchange, headers: list[Header]) -> list[Header]:
    """A 304 with the ETag that the client knows: weak, when what it holds was compressed here."""
    etag = find(headers, b"etag") or b""
    if etag.startswith(b'"') and "W/" + etag.decode("latin-1") in exchange.request.headers.get("If-None-Match", ""):
        return varying([_weak(header) for header in headers])
    return headers


def wants_gzip(exchange: Exchange) -> bool:
    """Whether the client takes gzip and does not forbid any change on the way."""
    asked = exchange.request.headers
    offered = asked.getall("Accept-Encoding", ())
    return accepts_gzip(", ".join(offered)) and "no-transform" not in asked.get("Cache-Control", "").lower()


@lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the value of Accept-Encoding allows gzip and does not prefer the plain body. A faulty member is none."""
    weights: dict[str, float] = {}
    for member in accept_encoding.lower().replace("x-gzip", "gzip").split(","):
        if match := _MEMBER.fullmatch(member.strip(" \t")):
            weights[match[1]] = min(float(match[2] or 1), weights.get(match[1], 1))
    gzip_weight = weights.get("gzip", weights.get("*", 0))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0)
