"""What is authorised is what is forwarded, and one request gets one answer."""

import asyncio

import pytest
from aiohttp import web

from edge.policies.paths import normal_path
from tests.edge.conftest import StartEdge, StartUpstream, table


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/%61dmin", "/admin"),
        ("/a%7Eb%2dc%5F", "/a~b-c_"),
        ("/a%20b%c3%a9", "/a%20b%C3%A9"),
        ("/100%25", "/100%25"),
        ("/x;y=1,2(3)!'*", "/x;y=1,2(3)!'*"),
    ],
)
def test_paths_are_spelled_in_one_way(path: str, normal: str) -> None:
    assert normal_path(path) == normal


OTHER_SPELLINGS = ["/%61dmin", "/admin%2fx", "//admin", "/admin#x", "/x/../admin", "/x/%2e%2E/admin", "/./admin"]


@pytest.mark.parametrize("path", OTHER_SPELLINGS)
async def test_no_spelling_reaches_a_guarded_path_unguarded(
    start_edge: StartEdge, start_upstream: StartUpstream, path: str
) -> None:
    reached: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        reached.append(request.raw_path)
        return web.Response()

    guarded = '[[route]]\npath = "/admin"\nupstream = "it"\nauth = "required"\nlimits = []\n'
    edge = await start_edge(table(await start_upstream(note)) + guarded)
    raw = await edge.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert raw.split(b" ", 2)[1] in (b"400", b"401"), raw[:200]
    assert reached == []


@pytest.mark.parametrize(
    "host", [b"good.test:\xe2\x82\xac", b"bad\xff", b'good.test:80#evil"<', b"a b", b"a,b", b"[::1", b"x/y", b"u@h"]
)
async def test_odd_host_is_one_400(start_edge: StartEdge, start_upstream: StartUpstream, host: bytes) -> None:
    async def never(_request: web.BaseRequest) -> web.Response:
        pytest.fail("reached the upstream")

    edge = await start_edge(table(await start_upstream(never)))
    raw = await edge.raw(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert b'"error":"BadRequest"' in raw


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ],
)
async def test_what_two_servers_could_read_in_two_ways_is_400(
    start_edge: StartEdge, start_upstream: StartUpstream, head: bytes
) -> None:
    reached: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        reached.append(request.path)
        return web.Response()

    edge = await start_edge(table(await start_upstream(note), auth='"optional"'))
    raw = await edge.raw(head + b"Connection: close\r\n\r\n0\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 "), raw[:200]
    assert reached == []


async def test_preflight_says_everything_once(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def never(_request: web.BaseRequest) -> web.Response:
        pytest.fail("reached the upstream")

    edge = await start_edge(table(await start_upstream(never)), ALLOWED_ORIGINS="https://app.test")
    ask = {
        "Origin": "https://app.test",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    async with edge.client.options("/", headers=ask) as response:
        for name in ("Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Max-Age"):
            assert len(response.headers.getall(f"Access-Control-{name}")) == 1, name
        assert response.headers["Access-Control-Allow-Headers"] == "authorization, content-type"


async def test_health_is_only_read(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    async def unused(_request: web.BaseRequest) -> web.Response:
        return web.Response()

    edge = await start_edge(table(await start_upstream(unused)))
    async with edge.client.delete("/health") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    async with edge.client.head("/health") as response:
        assert response.status == 200


async def test_client_that_does_not_read_is_cut_off(start_edge: StartEdge, start_upstream: StartUpstream) -> None:
    gone = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            gone.set()

    edge = await start_edge(table(await start_upstream(endless), timeout="{ idle = 0.3 }"))
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(gone.wait(), 10)
    writer.transport.abort()


async def test_worker_that_begins_to_retire_says_so_on_the_answer_under_way(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.Response:
        reached.set()
        await go_on.wait()
        return web.Response()

    edge = await start_edge(table(await start_upstream(wait)))
    call = asyncio.create_task(edge.client.get("/"))
    await asyncio.wait_for(reached.wait(), 5)
    edge.runtime.retiring = True
    go_on.set()
    async with await call as response:
        assert response.headers["Connection"] == "close"


async def test_route_templates_of_a_service_are_bounded_in_metrics(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    async def inventive(request: web.BaseRequest) -> web.Response:
        return web.Response(headers={"x-gatehouse-route": request.path})

    edge = await start_edge(table(await start_upstream(inventive)))
    for number in range(1100):
        async with edge.client.get(f"/{number}") as response:
            assert response.status == 200
    families = await edge.runtime.merged_metrics()
    samples = [sample for family in families for sample in family[3] if sample[0] == "http_requests_total"]
    assert len(samples) <= 1001
    assert sum(value for _, _, value in samples) == 1100
    assert [value for family in families for name, _, value in family[3] if name == "http_requests_in_flight"] == [0]
