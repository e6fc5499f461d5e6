"""Answers that a route keeps: asked for once, never given to the wrong caller, never longer than allowed."""

import asyncio
import gzip
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, web
from hypothesis import given
from hypothesis import strategies as st

from common import api_keys
from edge.cache.keys import Address, Key
from edge.cache.rules import CacheRules, seconds_kept
from edge.cache.store import Entry, Store
from edge.table import TableError, read_table
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

RULES = CacheRules(seconds=60, is_shared=False, ignores_cookies=False, bytes_max=1024)
JSON = {"Content-Type": "application/json"}
LONG = b'{"names": [' + b", ".join(b'"name %d"' % number for number in range(1000)) + b"]}"


class Upstream:
    """Counts what it is asked; answers with `body`, `status` and `headers`, or as `answer` says."""

    def __init__(self, start: StartUpstream) -> None:
        self._start = start
        self.asked: list[web.BaseRequest] = []
        self.came = asyncio.Event()
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = self._plain

    async def open(self) -> str:
        return await self._start(self._count)

    async def _count(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        self.came.set()
        return await self.answer(request)

    async def _plain(self, request: web.BaseRequest) -> web.Response:
        body = b"answer %d" % len(self.asked) if self.body is None else self.body
        return web.Response(body=body, status=self.status, headers={**JSON, **self.headers})


@pytest.fixture
def upstream(start_upstream: StartUpstream) -> Upstream:
    return Upstream(start_upstream)


async def started(start_edge: StartEdge, upstream: Upstream, cache: str = "{ seconds = 60 }", **options: str) -> Edge:
    return await start_edge(table(await upstream.open(), cache=cache, **options))


async def get(edge: Edge, path: str = "/", method: str = "GET", **headers: str) -> tuple[ClientResponse, bytes]:
    named = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with edge.client.request(method, path, headers=named) as response:
        return response, await response.read()


async def counts(edge: Edge) -> Counter[str]:
    families: Any = await edge.runtime.merged_metrics()
    samples = next(samples for name, _, _, samples in families if name == "cache_requests")
    return Counter({dict(labels)["outcome"]: int(value) for _, labels, value in samples if value})


async def waiting(edge: Edge, count: int) -> None:
    """Until `count` requests, no more, are being answered."""
    async with asyncio.timeout(10):
        while edge.runtime.metrics.in_flight != count:
            await asyncio.sleep(0.005)


# --- Kept answers -------------------------------------------------------------------------------------------------


async def test_upstream_is_asked_once(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await started(start_edge, upstream)
    first, body = await get(edge, "/a?x=1")
    assert (first.headers["Cache-Status"], "Age" in first.headers) == ("gatehouse; fwd=miss; stored", False)
    again, same = await get(edge, "/a?x=1")
    assert same == body == b"answer 1"
    assert again.status == 200
    assert again.headers["Cache-Status"].startswith("gatehouse; hit; ttl=")
    assert int(again.headers["Age"]) in range(5)
    assert again.headers["Content-Type"] == "application/json"
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert len(upstream.asked) == 1
    assert await counts(edge) == {"miss": 1, "hit": 1}


async def test_route_without_cache_asks_each_time(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await start_edge(table(await upstream.open()))
    assert [(await get(edge))[1] for _ in range(2)] == [b"answer 1", b"answer 2"]
    assert "Cache-Status" not in (await get(edge))[0].headers


async def test_path_query_host_and_scheme_are_kept_apart(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await start_edge(table(await upstream.open(), cache="{ seconds = 60 }"), TRUSTED_PROXIES="127.0.0.1")
    for path, headers in (
        ("/a", {}),
        ("/b", {}),
        ("/a?x", {}),
        ("/a?X", {}),
        ("/a", {"Host": "other.example"}),
        ("/a", {"Host": "other.example:81"}),
        ("/a", {"X_Forwarded_Proto": "https"}),
    ):
        _, body = await get(edge, path, **headers)
        assert body == b"answer %d" % len(upstream.asked)
        assert (await get(edge, path, **headers))[1] == body
    assert len(upstream.asked) == 7


async def test_answer_is_kept_no_longer_than_the_route_says(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.headers = {"Cache-Control": "max-age=3600"}
    edge = await started(start_edge, upstream, "{ seconds = 0.2 }")
    async with asyncio.timeout(10):
        while (await get(edge))[1] != b"answer 2":
            await asyncio.sleep(0.01)


async def test_time_in_other_caches_counts(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.headers = {"Cache-Control": "max-age=100", "Age": "70"}
    edge = await started(start_edge, upstream)
    first, _ = await get(edge)
    assert first.headers["Age"] == "70"
    hit, _ = await get(edge)
    assert int(hit.headers["Age"]) >= 70
    assert int(hit.headers["Cache-Status"].partition("ttl=")[2]) <= 30


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "no-store"},
        {"Cache-Control": "private, max-age=60"},
        {"Cache-Control": "No-Cache"},
        {"Cache-Control": "max-age=0"},
        {"Cache-Control": "max-age=60, s-maxage=0"},
        {"Cache-Control": "max-age=soon"},
        {"Cache-Control": "max-age=60", "Age": "60"},
        {"Pragma": "no-cache"},
        {"Expires": "0"},
        {"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"Set-Cookie": "a=b"},
        {"Vary": "*"},
        {"Vary": "Accept-Language, X-Real-IP"},
        {"Content-Type": "text/event-stream"},
        {"Content-Encoding": "br"},
    ],
)
async def test_upstream_can_forbid_keeping(start_edge: StartEdge, upstream: Upstream, headers: dict[str, str]) -> None:
    upstream.headers = headers
    edge = await started(start_edge, upstream)
    for number in (1, 2, 3):
        response, body = await get(edge)
        assert body == b"answer %d" % number
        assert response.headers["Cache-Status"] == "gatehouse; fwd=miss"


@pytest.mark.parametrize("status", [201, 404, 500])
async def test_only_200_is_kept(start_edge: StartEdge, upstream: Upstream, status: int) -> None:
    upstream.status = status
    edge = await started(start_edge, upstream)
    assert [(await get(edge))[1] for _ in range(2)] == [b"answer 1", b"answer 2"]
    upstream.status = 200
    assert [(await get(edge))[1] for _ in range(2)] == [b"answer 3", b"answer 3"]


async def test_answer_that_can_be_kept_again_is(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.headers = {"Cache-Control": "no-store"}
    edge = await started(start_edge, upstream)
    await get(edge)
    upstream.headers = {}
    assert [(await get(edge))[1] for _ in range(2)] == [b"answer 2", b"answer 2"]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_what_is_too_large_passes_whole_and_is_not_kept(
    start_edge: StartEdge, upstream: Upstream, is_chunked: bool
) -> None:
    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON)
        if not is_chunked:
            response.content_length = 40 * len(LONG)
        await response.prepare(request)
        for _ in range(40):
            await response.write(LONG)
        return response

    upstream.answer = stream
    edge = await started(start_edge, upstream, '{ seconds = 60, bytes_max = "64KiB" }')
    for _ in range(2):
        response, body = await get(edge)
        assert body == 40 * LONG
        assert response.headers["Cache-Status"] == "gatehouse; fwd=miss"
    assert len(upstream.asked) == 2


async def test_answer_in_pieces_without_length_is_kept(start_edge: StartEdge, upstream: Upstream) -> None:
    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=JSON)
        await response.prepare(request)
        for _ in range(10):
            await response.write(LONG)
        return response

    upstream.answer = stream
    edge = await started(start_edge, upstream)
    for _ in range(2):
        response, body = await get(edge)
        assert body == 10 * LONG
        assert response.headers["Content-Length"] == str(len(body))
    assert len(upstream.asked) == 1


async def test_memory_is_bounded_and_the_least_used_leave(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.body = b"x" * 10_000
    routes = table(await upstream.open(), cache="{ seconds = 60 }")
    edge = await start_edge(routes, EDGE_CACHE_BYTES_MAX="100000")
    for number in range(30):
        await get(edge, f"/{number}")
        await get(edge, "/0")
    families: Any = await edge.runtime.merged_metrics()
    kept = next(samples[0][2] for name, _, _, samples in families if name == "cache_bytes")
    assert 50_000 < kept <= 100_000
    paths = Counter(request.raw_path for request in upstream.asked)
    assert paths["/0"] == 1
    await get(edge, "/1")
    assert upstream.asked[-1].raw_path == "/1"


_words = st.sampled_from(
    [b"max-age", b"s-maxage", b"no-store", b"private", b"=", b"9", b'"', b",", b" ", b"-", b"\xff"]
)
_names = st.sampled_from([b"Cache-Control", b"Expires", b"Date", b"Age", b"Vary", b"Pragma", b"Content-Type"])


@given(st.lists(st.tuples(_names, st.lists(_words, max_size=12).map(b"".join) | st.binary(max_size=40)), max_size=5))
def test_whatever_an_upstream_says_is_understood_as_a_time_within_bounds(headers: list[tuple[bytes, bytes]]) -> None:
    assert 0 <= seconds_kept(RULES, 200, headers) <= RULES.seconds


_places = st.integers(0, 5).map(lambda number: Address(RULES, "http", "x", f"/{number}", ""))
_keys = st.builds(Key, _places, st.sampled_from([None, ((b"X-Gatehouse-User", b"1"),)]))


@given(st.lists(st.tuples(_keys, st.sampled_from([(), (b"accept",)]), st.integers(0, 3), st.integers(0, 9000))))
def test_store_counts_every_byte_in_and_out(puts: list[tuple[Key, tuple[bytes, ...], int, int]]) -> None:
    store = Store(30_000, clock=lambda: 0)
    for key, varying, number, size in puts:
        variant = (b"%d" % number,) if varying else ()
        entry = Entry(b"OK", (), b"x" * size, None, 0, 60, varying, variant)
        store.put(key, entry)
        assert store.size <= 30_000
        assert store.find(key, variant) is entry  # the newest is never the one that leaves
        assert store.find(key, (b"other",)) is None
    for key, _, _, _ in puts:
        store.forget(key.address)
    assert (store.size, len(store)) == (0, 0)


# --- One client's answer and another's ----------------------------------------------------------------------------


class Auth:
    """A stand-in for the auth service that knows the keys it made."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def caller(self, user: str, permissions: tuple[str, ...] = (), key: str | None = None) -> dict[str, str]:
        made = api_keys.make()
        who = {"user": user, "org": str(uuid4()), "role": "user", "tier": "free", "key": key or str(uuid4())}
        self._known[made] = {**who, "permissions": permissions, "limit": None, "expires_at": None}
        return {"Authorization": f"ApiKey {made}"}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/internal/keys/resolve":
            found = self._known.get((await request.json())["key"])
            return web.json_response({"data": found}, status=200 if found else 401)
        if request.path == "/internal/revocations":
            return web.json_response({"data": {"items": [], "latest": 0}})
        return web.json_response({"keys": []})


@pytest.fixture
async def auth_url(start_upstream: StartUpstream, auth: Auth) -> str:
    return await start_upstream(auth.answer)


@pytest.fixture
def auth() -> Auth:
    return Auth()


async def test_callers_never_see_each_others_answers(
    start_edge: StartEdge, upstream: Upstream, auth: Auth, auth_url: str
) -> None:
    async def whose(request: web.BaseRequest) -> web.Response:
        names = ("X-Gatehouse-User", "X-Gatehouse-Org", "X-Gatehouse-Permissions")
        return web.json_response([request.headers.get(name) for name in names])

    upstream.answer = whose
    routes = table(await upstream.open(), auth='"optional"', cache="{ seconds = 60 }")
    edge = await start_edge(routes, AUTH_URL=auth_url)
    one, two = str(uuid4()), str(uuid4())
    callers = [auth.caller(one), auth.caller(two), auth.caller(one, ("reports:read",)), {}]
    answers = [[(await get(edge, "/", **caller))[1] for _ in range(2)] for caller in callers]
    assert all(first == again for first, again in answers)
    assert len({first for first, _ in answers}) == 4
    assert one.encode() in answers[0][0]
    assert two.encode() in answers[1][0]
    assert len(upstream.asked) == 4


async def test_simultaneous_callers_never_share_a_flight(
    start_edge: StartEdge, upstream: Upstream, auth: Auth, auth_url: str
) -> None:
    async def whose(request: web.BaseRequest) -> web.Response:
        while len(upstream.asked) < 5:
            await asyncio.sleep(0.005)
        return web.Response(text=request.headers["X-Gatehouse-User"])

    upstream.answer = whose
    routes = table(await upstream.open(), auth='"required"', cache="{ seconds = 60 }")
    edge = await start_edge(routes, AUTH_URL=auth_url)
    users = [str(uuid4()) for _ in range(5)]
    callers = [auth.caller(user) for user in users]
    answers = await asyncio.gather(*(get(edge, "/", **caller) for caller in callers))
    assert [body.decode() for _, body in answers] == users


async def test_shared_is_said_explicitly_and_still_only_for_callers(
    start_edge: StartEdge, upstream: Upstream, auth: Auth, auth_url: str
) -> None:
    routes = table(await upstream.open(), auth='"required"', cache="{ seconds = 60, shared = true }")
    edge = await start_edge(routes, AUTH_URL=auth_url)
    for _ in range(3):
        assert (await get(edge, "/", **auth.caller(str(uuid4()))))[1] == b"answer 1"
    refused, _ = await get(edge)
    assert refused.status == 401
    refused, _ = await get(edge, Authorization=f"ApiKey {api_keys.make()}")
    assert refused.status == 401


async def test_shared_answer_that_depends_on_the_caller_is_not_kept(
    start_edge: StartEdge, upstream: Upstream, auth: Auth, auth_url: str
) -> None:
    upstream.headers = {"Vary": "X-Gatehouse-Org"}
    routes = table(await upstream.open(), auth='"required"', cache="{ seconds = 60, shared = true }")
    edge = await start_edge(routes, AUTH_URL=auth_url)
    for number in (1, 2):
        assert (await get(edge, "/", **auth.caller(str(uuid4()))))[1] == b"answer %d" % number


async def test_limits_count_kept_answers(start_edge: StartEdge, upstream: Upstream) -> None:
    routes = table(await upstream.open(), limits='["general"]', cache="{ seconds = 60 }")
    edge = await start_edge(routes, LIMIT_GENERAL="2/60")
    answers = [(await get(edge))[0] for _ in range(3)]
    assert [response.status for response in answers] == [200, 200, 429]
    assert [response.headers["X-RateLimit-Remaining"] for response in answers] == ["1", "0", "0"]


async def test_request_with_cookies_is_for_its_client_alone(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await started(start_edge, upstream)
    response, body = await get(edge, Cookie="session=1")
    assert (body, response.headers["Cache-Status"]) == (b"answer 1", "gatehouse; fwd=bypass")
    assert (await get(edge))[1] == b"answer 2"
    assert (await get(edge, Cookie="session=1"))[1] == b"answer 3"


@pytest.mark.parametrize(
    ("cache", "options"),
    [
        ("{ seconds = 60, shared = true }", {}),
        ("{ seconds = 60 }", {"headers": '{ request = { remove = ["Cookie"] } }'}),
    ],
)
async def test_cookies_do_not_matter_where_the_route_says_so(
    start_edge: StartEdge, upstream: Upstream, cache: str, options: dict[str, str]
) -> None:
    edge = await started(start_edge, upstream, cache, **options)
    assert [(await get(edge, Cookie=f"session={number}"))[1] for number in range(2)] == [b"answer 1"] * 2


async def test_credential_that_the_upstream_judges_is_judged_each_time(
    start_edge: StartEdge, upstream: Upstream
) -> None:
    edge = await started(start_edge, upstream, "{ seconds = 60, shared = true }", pass_authorization="true")
    bodies = [(await get(edge, Authorization="Basic eDp5"))[1] for _ in range(2)]
    assert bodies == [b"answer 1", b"answer 2"]


async def test_each_negotiated_answer_is_kept_apart(start_edge: StartEdge, upstream: Upstream) -> None:
    async def greet(request: web.BaseRequest) -> web.Response:
        language = request.headers.get("Accept-Language", request.headers.get("Accept_Language", "none"))
        return web.Response(text=language, headers={"Vary": "Accept-Language, Accept-Encoding"})

    upstream.answer = greet
    edge = await started(start_edge, upstream)
    for _ in range(2):
        for language in ("de", "fr", "en"):
            assert (await get(edge, Accept_Language=language))[1] == language.encode()
        assert (await get(edge))[1] == b"none"
    assert len(upstream.asked) == 4
    raw = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept_Language: it\r\nConnection: close\r\n\r\n" % edge.port
    assert (await edge.raw(raw)).endswith(b"\r\n\r\nit")
    assert (await get(edge))[1] == b"none"


async def test_client_cannot_hide_from_the_upstream_what_its_answer_is_kept_by(
    start_edge: StartEdge, upstream: Upstream
) -> None:
    async def greet(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.headers.get("Accept-Language", "none"), headers={"Vary": "Accept-Language"})

    upstream.answer = greet
    edge = await started(start_edge, upstream)
    assert (await get(edge, Accept_Language="de", Connection="keep-alive, accept-language"))[1] == b"none"
    assert (await get(edge, Accept_Language="de"))[1] == b"de"


# --- Many at once -------------------------------------------------------------------------------------------------


async def test_many_misses_at_once_are_one_request(start_edge: StartEdge, upstream: Upstream) -> None:
    release = asyncio.Event()

    async def slow(_request: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response(body=LONG, headers=JSON)

    upstream.answer = slow
    edge = await started(start_edge, upstream)
    clients = [asyncio.create_task(get(edge)) for _ in range(50)]
    await waiting(edge, 50)
    release.set()
    answers = await asyncio.gather(*clients)
    assert all(body == LONG for _, body in answers)
    assert len(upstream.asked) == 1
    assert await counts(edge) == {"miss": 1, "coalesced": 49}
    said = Counter(response.headers["Cache-Status"] for response, _ in answers)
    assert said == {"gatehouse; fwd=miss; stored": 1, "gatehouse; fwd=miss; collapsed": 49}


async def test_misses_that_negotiate_differently_get_each_their_own(start_edge: StartEdge, upstream: Upstream) -> None:
    async def greet(request: web.BaseRequest) -> web.Response:
        if len(upstream.asked) == 1:
            await waiting(edge, 15)
        return web.Response(text=request.headers["Accept-Language"], headers={"Vary": "Accept-Language"})

    upstream.answer = greet
    edge = await started(start_edge, upstream)
    languages = ["de", "fr", "en"] * 5
    answers = await asyncio.gather(*(get(edge, Accept_Language=language) for language in languages))
    assert [body.decode() for _, body in answers] == languages
    assert len(upstream.asked) == 3


async def test_leader_that_leaves_does_not_fail_its_followers(start_edge: StartEdge, upstream: Upstream) -> None:
    release = asyncio.Event()

    async def slow(_request: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response(body=b"late", headers=JSON)

    upstream.answer = slow
    edge = await started(start_edge, upstream)
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % edge.port)
    await upstream.came.wait()
    followers = [asyncio.create_task(get(edge)) for _ in range(3)]
    await waiting(edge, 4)
    writer.transport.abort()
    await waiting(edge, 3)
    release.set()
    assert [body for _, body in await asyncio.gather(*followers)] == [b"late"] * 3
    assert len(upstream.asked) == 1


async def test_upstream_is_left_when_nobody_waits_any_more(start_edge: StartEdge, start_raw_upstream: Any) -> None:
    gone, came = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        assert await reader.read() == b""
        gone.set()

    edge = await start_edge(table(await start_raw_upstream(silent), cache="{ seconds = 60 }"))
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(came.wait(), 10)
    writer.transport.abort()
    await asyncio.wait_for(gone.wait(), 10)


async def test_failure_is_shared_by_those_who_wait_and_by_no_one_later(
    start_edge: StartEdge, start_raw_upstream: Any
) -> None:
    asked, release = [], asyncio.Event()

    async def cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await release.wait()
        length = 100 if len(asked) == 1 else 4
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nbody" % length)
        await writer.drain()

    edge = await start_edge(table(await start_raw_upstream(cut_short), cache="{ seconds = 60 }"))
    clients = [asyncio.create_task(get(edge)) for _ in range(5)]
    await waiting(edge, 5)
    release.set()
    answers = await asyncio.gather(*clients)
    assert [response.status for response, _ in answers] == [502] * 5
    assert len(asked) == 1
    response, body = await get(edge)
    assert (response.status, body) == (200, b"body")


async def test_followers_of_an_answer_that_is_for_one_go_their_own_way(
    start_edge: StartEdge, upstream: Upstream
) -> None:
    async def personal(_request: web.BaseRequest) -> web.Response:
        number = len(upstream.asked)
        if number == 1:
            await waiting(edge, 5)
        return web.Response(text=f"for {number}", headers={"Set-Cookie": f"session={number}"})

    upstream.answer = personal
    edge = await started(start_edge, upstream)
    answers = await asyncio.gather(*(get(edge) for _ in range(5)))
    assert len({body for _, body in answers}) == 5
    assert len({response.headers["Set-Cookie"] for response, _ in answers}) == 5
    assert len(upstream.asked) == 5


# --- Conditions, parts, codings, changes --------------------------------------------------------------------------


async def test_condition_is_answered_from_what_is_kept(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.headers = {"ETag": '"1"', "Last-Modified": "Mon, 02 Jun 2025 10:00:00 GMT"}
    edge = await started(start_edge, upstream)
    for tags in ('"1"', 'W/"0", W/"1"', "*"):  # the first is a miss: the upstream is asked without the condition
        response, body = await get(edge, If_None_Match=tags)
        assert (response.status, body) == (304, b"")
        assert response.headers["ETag"].removeprefix("W/") == '"1"'
    for since, status in (("Mon, 02 Jun 2025 10:00:00 GMT", 304), ("Sun, 01 Jun 2025 10:00:00 GMT", 200), ("x", 200)):
        assert (await get(edge, If_Modified_Since=since))[0].status == status
    changed, body = await get(edge, If_None_Match='"2"', If_Modified_Since="Mon, 02 Jun 2025 10:00:00 GMT")
    assert (changed.status, body) == (200, b"answer 1")
    assert len(upstream.asked) == 1
    assert "If-None-Match" not in upstream.asked[0].headers


async def test_conditions_and_their_answers_pass_where_nothing_is_kept(
    start_edge: StartEdge, upstream: Upstream
) -> None:
    async def tagged(request: web.BaseRequest) -> web.Response:
        known = request.headers.get("If-None-Match") == '"1"'
        return web.Response(status=304 if known else 200, headers={"ETag": '"1"', "Cache-Control": "max-age=5"})

    upstream.answer = tagged
    edge = await start_edge(table(await upstream.open()))
    response, body = await get(edge, If_None_Match='"1"')
    assert (response.status, body, response.headers["ETag"]) == (304, b"", '"1"')
    assert response.headers["Cache-Control"] == "max-age=5"
    assert (await get(edge))[0].status == 200


@pytest.mark.parametrize("cache", [{}, {"cache": "{ seconds = 60 }"}])
async def test_parts_pass_untouched_and_are_not_kept(
    start_edge: StartEdge, upstream: Upstream, cache: dict[str, str]
) -> None:
    async def part(request: web.BaseRequest) -> web.Response:
        if "Range" not in request.headers:
            return web.Response(body=LONG, headers=JSON)
        headers = {"Content-Range": f"bytes 0-1999/{len(LONG)}", "ETag": '"1"', **JSON}
        return web.Response(status=206, body=LONG[:2000], headers=headers)

    upstream.answer = part
    edge = await start_edge(table(await upstream.open(), **cache))
    for _ in range(2):
        response, body = await get(edge, Range="bytes=0-1999", If_Range='"1"', Accept_Encoding="gzip")
        assert (response.status, body) == (206, LONG[:2000])
        assert response.headers["Content-Range"] == f"bytes 0-1999/{len(LONG)}"
        assert response.headers["ETag"] == '"1"'
    assert upstream.asked[0].headers["If-Range"] == '"1"'
    assert len(upstream.asked) == 2
    assert (await get(edge))[1] == LONG


async def test_one_kept_answer_serves_plain_and_compressed(start_edge: StartEdge, upstream: Upstream) -> None:
    upstream.body, upstream.headers = LONG, {"ETag": '"1"'}
    edge = await started(start_edge, upstream)
    for _ in range(2):
        packed, body = await get(edge, Accept_Encoding="gzip")
        assert gzip.decompress(body) == LONG
        assert (packed.headers["ETag"], packed.headers["Vary"]) == ('W/"1"', "Accept-Encoding")
        plain, body = await get(edge)
        assert body == LONG
        assert (plain.headers["ETag"], plain.headers["Vary"]) == ('"1"', "Accept-Encoding")
        assert "Content-Encoding" not in plain.headers
    assert len(upstream.asked) == 1
    head, _ = await get(edge, method="HEAD", Accept_Encoding="gzip")
    assert head.headers["Content-Length"] == packed.headers["Content-Length"]
    unchanged, _ = await get(edge, Accept_Encoding="gzip", If_None_Match='W/"1"')
    assert (unchanged.status, unchanged.headers["ETag"]) == (304, 'W/"1"')


async def test_head_is_answered_from_what_get_left(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await started(start_edge, upstream)
    missed, _ = await get(edge, method="HEAD")
    assert missed.headers["Cache-Status"] == "gatehouse; fwd=miss"
    await get(edge)
    head, body = await get(edge, method="HEAD")
    assert (head.status, body, head.headers["Content-Length"]) == (200, b"", str(len("answer 2")))
    assert head.headers["Cache-Status"].startswith("gatehouse; hit")
    assert [request.method for request in upstream.asked] == ["HEAD", "GET"]


async def test_change_is_seen_by_the_next_request(start_edge: StartEdge, upstream: Upstream) -> None:
    edge = await started(start_edge, upstream)
    assert (await get(edge, "/a"))[1] == b"answer 1"
    assert (await get(edge, "/b"))[1] == b"answer 2"
    upstream.status = 409
    await get(edge, "/a", method="PUT")  # refused: nothing has changed
    upstream.status = 200
    assert (await get(edge, "/a"))[1] == b"answer 1"
    await get(edge, "/a", method="PUT")
    assert (await get(edge, "/a"))[1] == b"answer 5"
    assert (await get(edge, "/b"))[1] == b"answer 2"


# --- The table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "fault"),
    [
        ("{}", "cache.seconds is required"),
        ("{ seconds = 0 }", "cache.seconds must be greater than 0"),
        ("{ seconds = 1, for = 2 }", "unknown field 'cache.for'"),
        ('{ seconds = 1, bytes_max = "much" }', "cache.bytes_max: must be a size"),
    ],
)
def test_faulty_cache_is_refused_by_line(tmp_path: Path, cache: str, fault: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(table("http://127.0.0.1:1", cache=cache))
    with pytest.raises(TableError) as caught:
        read_table(file, {}.get)
    assert f"{file}:9: {fault}" in str(caught.value)
