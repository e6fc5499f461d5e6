"""Whoever guesses passwords is banned, on every edge, and nobody else is."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from common.settings import load
from edge.app import ban_admin
from edge.bans.ban_list import BanList
from edge.settings import EdgeSettings
from tests.edge.conftest import KEYS, Edge, StartEdge, StartUpstream, table
from tests.store_server import Server

LOGIN, SECURITY = "/api/v1/auth/login", ("X-Content-Type-Options", "X-Frame-Options", "X-Request-ID")
PROXIES = {"TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8"}


@dataclass
class Service:
    """Answers what the request asks for, and remembers who came through."""

    url: str = ""
    seen: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(request.headers["X-Real-IP"])
        return web.Response(status=int(request.headers.get("X-Status", "200")))


@pytest.fixture
async def service(start_upstream: StartUpstream) -> Service:
    service = Service()
    service.url = await start_upstream(service.answer)
    return service


async def start(start_edge: StartEdge, service: Service, redis_url: str = "", **environ: Any) -> Edge:
    routes = table(service.url, LOGIN, counts_for_ban="true", limits='["general", "auth"]') + (
        '[[route]]\npath = "/"\nupstream = "it"\nauth = "none"\nlimits = ["general"]\n'
    )
    generous = {"LIMIT_GENERAL": "100000/60", "LIMIT_AUTH": "100000/60"}
    return await start_edge(routes, REDIS_URL=redis_url, **{**PROXIES, **generous, **environ})


async def statuses(edge: Edge, address: str, status: int = 401, *, times: int = 1, path: str = LOGIN) -> list[int]:
    headers = {"X-Forwarded-For": address, "X-Status": str(status)}
    return [(await edge.client.post(path, headers=headers)).status for _ in range(times)]


async def becomes(edge: Edge, address: str, status: int, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while await statuses(edge, address, 200, path="/") != [status]:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("status", [401, 403])
async def test_tenth_failure_bans_the_address_from_everything_but_health(
    start_edge: StartEdge, service: Service, clean_redis_url: str, status: int
) -> None:
    edge = await start(start_edge, service, clean_redis_url)
    assert await statuses(edge, "203.0.113.7", status, times=9) == [status] * 9
    assert await statuses(edge, "203.0.113.7", 200) == [200]
    assert await statuses(edge, "203.0.113.7", status) == [status]
    seen = len(service.seen)
    headers = {"X-Forwarded-For": "203.0.113.7", "Origin": "https://a.test"}
    for path in (LOGIN, "/anything", "/not/../plain"):
        async with edge.client.get(path, headers=headers) as response:
            body = json.loads(await response.read())
            assert (response.status, body["error"], body["statusCode"]) == (403, "Banned", 403)
            assert 3590 <= int(response.headers["Retry-After"]) <= 3600
            assert all(name in response.headers for name in SECURITY)
    assert len(service.seen) == seen
    async with edge.client.get("/health", headers=headers) as response:
        assert response.status == 200
    assert await statuses(edge, "203.0.113.8", 200) == [200]


async def test_other_answers_and_other_routes_ban_nobody(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="2")
    for status in (200, 302, 400, 404, 422, 429, 500, 503):
        assert await statuses(edge, "203.0.113.7", status, times=3) == [status] * 3
    assert await statuses(edge, "203.0.113.7", 401, times=5, path="/api/v1/things") == [401] * 5


async def test_used_up_auth_limit_counts_and_a_general_one_does_not(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, LIMIT_AUTH="1/60", BAN_FAILURES="3")
    assert await statuses(edge, "203.0.113.7", 200, times=5) == [200, 429, 429, 429, 403]
    edge = await start(start_edge, service, LIMIT_GENERAL="1/60", BAN_FAILURES="3")
    assert await statuses(edge, "203.0.113.7", 200, times=6) == [200] + [429] * 5


async def test_subscriber_of_ipv6_is_a_whole_64(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="2")
    assert await statuses(edge, "2001:db8:1:2::3") == [401]
    assert await statuses(edge, "2001:db8:1:2:ffff::4") == [401]
    assert await statuses(edge, "2001:db8:1:2::5", 200) == [403]
    assert await statuses(edge, "2001:db8:1:3::3", 200) == [200]


async def test_proxy_itself_is_never_banned(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="2")
    for address in ("10.1.2.3", ""):  # an inner proxy's own call; the peer's, without a hop
        assert await statuses(edge, address, 401, times=5) == [401] * 5


async def test_zero_failures_turn_bans_off(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="0")
    assert await statuses(edge, "203.0.113.7", times=15) == [401] * 15


async def test_ban_ends_by_itself(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="2", BAN_SECONDS="1", BAN_WITHIN_SECONDS="1")
    assert await statuses(edge, "203.0.113.7", times=3) == [401, 401, 403]
    await becomes(edge, "203.0.113.7", 200)


async def test_failures_and_bans_are_shared_over_edges(
    start_edge: StartEdge, service: Service, clean_redis_url: str
) -> None:
    one, other = [await start(start_edge, service, clean_redis_url) for _ in range(2)]
    for edge in (one, other) * 5:
        assert await statuses(edge, "203.0.113.7") == [401]
    await becomes(one, "203.0.113.7", 403)
    await becomes(other, "203.0.113.7", 403, seconds=3)
    later = await start(start_edge, service, clean_redis_url)
    assert await statuses(later, "203.0.113.7", 200) == [403]  # known before it is ready


async def test_store_that_is_away_leaves_bans_to_each_edge_and_is_told_when_it_is_back(
    start_edge: StartEdge, service: Service, tmp_path: Path
) -> None:
    server = Server(tmp_path)
    server.start()
    edge, other = [await start(start_edge, service, server.url) for _ in range(2)]
    server.stop()
    try:
        assert await statuses(edge, "203.0.113.7", times=11) == [401] * 10 + [403]  # whole in each, not its part
        assert await statuses(other, "203.0.113.7", 200) == [200]
        server.start()
        await becomes(other, "203.0.113.7", 403, seconds=10)
    finally:
        server.stop()
    assert await statuses(edge, "203.0.113.7", 200) == [403]


async def test_metrics_count_bans_and_refusals(start_edge: StartEdge, service: Service) -> None:
    edge = await start(start_edge, service, BAN_FAILURES="1")
    await statuses(edge, "203.0.113.7", times=4)
    values = {name: value for *_, samples in await edge.runtime.merged_metrics() for name, _, value in samples}
    assert (values["bans_total"], values["banned_requests_total"]) == (1, 3)


@dataclass
class Desk:
    """The administrator's side of an edge."""

    edge: Edge
    client: ClientSession

    async def ask(self, method: str, path: str = "/bans", body: Any = None) -> tuple[int, dict[str, Any]]:
        async with self.client.request(method, path, json=body) as response:
            answer = json.loads(await response.read())
            return response.status, answer.get("data", answer)


@pytest.fixture
async def desk(start_edge: StartEdge, service: Service, clean_redis_url: str) -> AsyncIterator[Desk]:
    banned = BanList()
    edge = await start(start_edge, service, clean_redis_url, banned=banned)
    app = web.Application()
    app.add_routes(ban_admin(load(EdgeSettings, {**KEYS, **PROXIES}), banned).routes())
    async with TestServer(app) as server, ClientSession(str(server.make_url(""))) as client:
        yield Desk(edge, client)


async def test_administrator_lists_lifts_and_adds(desk: Desk) -> None:
    await statuses(desk.edge, "2001:db8::7", times=10)
    (listed,) = (await desk.ask("GET"))[1]["items"]
    assert (listed["address"], 3590 < listed["seconds_left"] <= 3600) == ("2001:db8::/64", True)
    lifted = {"address": "2001:db8::/64", "was_banned": True, "shared": True}
    assert await desk.ask("DELETE", "/bans?address=2001:db8::/64") == (200, lifted)
    assert (await desk.ask("GET"))[1]["items"] == []
    assert await statuses(desk.edge, "2001:db8::7", times=2) == [401] * 2  # its failures are forgotten too
    assert await desk.ask("DELETE", "/bans?address=2001:db8::7") == (200, {**lifted, "was_banned": False})
    added = {"address": "203.0.113.7", "seconds": 60, "shared": True}
    assert await desk.ask("POST", body={"address": "203.0.113.7", "seconds": 60}) == (200, added)
    assert await statuses(desk.edge, "203.0.113.7", 200) == [403]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"address": "somebody"}, "no address"),
        ({}, "no address"),
        ([], "no address"),
        ({"address": "10.0.0.1"}, "trusted proxy"),
        ({"address": "203.0.113.7", "seconds": 0}, "whole number"),
        ({"address": "203.0.113.7", "seconds": True}, "whole number"),
    ],
)
async def test_ban_that_makes_no_sense_is_refused(desk: Desk, body: Any, said: str) -> None:
    status, answer = await desk.ask("POST", body=body)
    assert (status, said in answer["error"]) == (422, True)
    assert (await desk.ask("GET"))[1]["items"] == []


async def test_page_of_another_origin_cannot_ban(desk: Desk) -> None:
    async with desk.client.post("/bans", data=b'{"address": "203.0.113.7"}') as response:
        assert response.status == 422
