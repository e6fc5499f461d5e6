"""What a client sends to get past the front, or to make front and edge read one request differently."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.edge.conftest import StartUpstream
from tests.ops.front.conftest import Running, StartFront


async def sent(front: Running, request: bytes, *, tls: bool = True) -> bytes:
    """Everything that is answered until the front closes."""
    context = front.context if tls else None
    port = front.https_port if tls else front.http_port
    async with asyncio.timeout(20):
        name = "api.example.com" if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.mark.parametrize(
    "host", ["evil.test#.tenants.example.com", "x@.tenants.example.com", "a'b.tenants.example.com"]
)
async def test_no_redirect_leads_to_what_is_no_host(start_front: StartFront, host: str) -> None:
    front = await start_front("127.0.0.1:9")
    answer = await sent(front, f"GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode(), tls=False)
    assert answer.split(b" ", 2)[1] in {b"400", b"421"}, answer


@pytest.mark.parametrize("protocol", ["h2c", "tcp", "TLS/1.0"])
async def test_only_websockets_may_change_the_protocol(
    start_front: StartFront, start_upstream: StartUpstream, protocol: str
) -> None:
    """What changes to HTTP/2 in the clear would carry requests that nobody looks at."""
    seen: list[dict[str, str]] = []

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        seen.append({name.lower(): value.lower() for name, value in request.headers.items()})
        return web.json_response({})

    front = await start_front(await start_upstream(note))
    asked = (
        f"GET /x HTTP/1.1\r\nHost: api.example.com\r\nUpgrade: {protocol}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    )
    rest = (
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET /y HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"
    )
    await sent(front, (asked + rest).encode())
    assert seen
    assert not [headers for headers in seen if "upgrade" in headers or "upgrade" in headers.get("connection", "")]


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 6\r\nContent-Length: 40\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ],
)
async def test_a_body_of_two_lengths_hides_no_request(
    start_both: StartFront, start_upstream: StartUpstream, head: str
) -> None:
    paths: list[Any] = []

    async def note(request: web.BaseRequest) -> web.StreamResponse:
        paths.append(request.path)
        await request.read()
        return web.json_response({})

    front = await start_both(await start_upstream(note))
    hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    first = f"POST /seen HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n{head}\r\n{hidden}"
    await sent(front, first.encode())
    answer = await front.get("/after")
    assert answer.status == 200
    assert "/hidden" not in paths
    assert paths[-1] == "/after"
