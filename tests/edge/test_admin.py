"""The admin interface tells what is in force and what happened, over all workers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from common.supervisor.metrics import merge
from edge.admin.app import Admin
from edge.admin.figures import durations, quantile
from tests.edge.conftest import Edge, Runtime, StartEdge, StartUpstream, table
from tests.edge.test_reload import INCLUDES, becomes, drop, own, status, within


class Desk:
    """An edge and its admin interface."""

    def __init__(self, edge: Edge, client: ClientSession) -> None:
        self.edge = edge
        self._client = client

    async def get(self, path: str) -> Any:
        async with self._client.get(path) as response:
            body = await response.json()
            assert (response.status, body["success"]) == (200, True)
            return body["data"]


@pytest.fixture
async def upstream(start_upstream: StartUpstream) -> str:
    async def answer(request: web.BaseRequest) -> web.Response:
        named = {"X-Gatehouse-Route": "/x/{id}"} if request.path.startswith("/x/") else {}
        return web.Response(status=int(request.rel_url.query.get("status", "200")), headers=named)

    return await start_upstream(answer)


@pytest.fixture
async def desk(start_edge: StartEdge, upstream: str) -> AsyncIterator[Desk]:
    runtime = Runtime()
    admin = Admin(runtime)
    routes = INCLUDES + table(upstream, "/x", "/y", limits='["general"]', methods='["GET"]')
    edge = await start_edge(
        routes, runtime, admin=admin, LIMIT_GENERAL="3/60", DOMAINS="api.test,*.api.test", REDIS_URL=""
    )
    runner = web.AppRunner(admin.app(runtime.metrics), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        yield Desk(edge, client)
    await runner.cleanup()


async def test_routes_are_those_in_force_and_faults_on_the_disk_are_named(
    desk: Desk, upstream: str, tmp_path: Path
) -> None:
    shown = await desk.get("/routes")
    assert [route["path"] for route in shown["items"]] == ["/x", "/y"]
    assert shown["items"][0] == {
        "path": "/x",
        "upstream": "it",
        "auth": "none",
        "limits": ["general"],
        "hosts": [],
        "methods": ["GET"],
        "permission": None,
    }
    assert shown["refused"] == []
    file = drop(tmp_path, "more.toml", own(upstream, "more", "/more") + "colour = 1\n")

    async def is_refused() -> bool:
        return (await desk.get("/routes"))["refused"] == [f"{file}:9: unknown field 'colour'"]

    await within(5, is_refused)
    drop(tmp_path, "more.toml", own(upstream, "more", "/more"))
    await becomes(desk.edge, 200, "/more")
    assert [route["path"] for route in (await desk.get("/routes"))["items"]] == ["/more", "/x", "/y"]


async def test_traffic_is_counted_by_template_and_by_upstream(desk: Desk) -> None:
    for path in ("/x/1", "/x/2?status=500", "/y", "/nowhere"):
        await status(desk.edge, path)
    traffic = await desk.get("/traffic")
    counted = {(item["route"], item["method"]): item["requests"] for item in traffic["items"]}
    assert counted == {
        ("/x/{id}", "GET"): {"2xx": 1, "5xx": 1},
        ("/y", "GET"): {"2xx": 1},
        ("unmatched", "GET"): {"4xx": 1},
    }
    assert all(0 < item["p50_ms"] <= item["p99_ms"] for item in traffic["items"])
    assert traffic["in_flight"] == 0
    (it,) = (await desk.get("/upstreams"))["items"]
    assert (it["name"], it["requests"], it["count"]) == ("it", {"2xx": 2, "5xx": 1}, 3)
    assert it["p50_ms"] > 0
    (server,) = it["servers"]
    assert (server["in_flight"], server["idle"], server["weight"], server["workers"]) == (0, 1, 1, {"healthy": 1})


async def test_server_that_accepts_nobody_is_shown_as_left_out(
    desk: Desk, upstream: str, unused_tcp_port: int, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{unused_tcp_port}"
    drop(tmp_path, "two.toml", own(upstream, "two", "/two").replace(f'["{upstream}"]', f'["{upstream}", "{dead}"]'))
    await becomes(desk.edge, 200, "/two")

    async def is_left_out() -> bool:
        assert await status(desk.edge, "/two") == 200
        servers = {one["url"]: one for item in (await desk.get("/upstreams"))["items"] for one in item["servers"]}
        return servers[dead]["ejections"] >= 1 and "healthy" not in servers[dead]["workers"]

    await within(5, is_left_out)


async def test_refused_request_reaches_no_upstream_and_is_no_upstreams_figure(desk: Desk) -> None:
    codes = [await status(desk.edge, "/y") for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert (await desk.get("/upstreams"))["items"][0]["requests"] == {"2xx": 3}
    limiter = await desk.get("/limiter")
    assert limiter["decisions"]["general"]["allowed"] == 3
    assert limiter["decisions"]["general"]["denied"] == 2
    assert {"name": "general", "limit": 3, "window_seconds": 60.0} in limiter["classes"]
    assert limiter["store"] == "none"


async def test_policies_are_in_the_order_in_which_a_request_meets_them(desk: Desk) -> None:
    shown = {item["name"]: item["settings"] for item in (await desk.get("/middlewares"))["items"]}
    order = list(shown)
    assert order.index("bans") < order.index("hosts") < order.index("authentication") < order.index("limits")
    assert shown["hosts"] == {"served": ["*.api.test", "api.test"]}
    assert shown["limits"]["general"] == "3/60"


async def test_edge_that_ends_no_tls_has_no_certificates(desk: Desk) -> None:
    assert await desk.get("/certificates") == {"items": [], "ends_tls": False}


async def test_workers_are_shown_with_what_they_take(desk: Desk) -> None:
    (worker,) = (await desk.get("/workers"))["items"]
    assert worker["state"] == "ready"
    assert worker["memory_bytes"] > 1_000_000
    assert worker["cpu_seconds"] > 0


async def test_interface_of_an_edge_that_is_opening_says_so() -> None:
    runner = web.AppRunner(Admin(Runtime()).app(Runtime().metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as client, client.get(f"http://127.0.0.1:{runner.addresses[0][1]}/routes") as response:
        assert response.status == 503
    await runner.cleanup()


def test_quantile_lies_within_its_bucket() -> None:
    bounds = [0.1, 0.5, 1.0, float("inf")]
    assert quantile(bounds, [0, 10, 10, 10], 0.5) == pytest.approx(0.3)
    assert quantile(bounds, [90, 99, 99, 100], 0.5) == pytest.approx(0.0556, abs=0.001)
    assert quantile(bounds, [0, 0, 0, 4], 0.99) == 1.0, "the last bound that is one"
    assert quantile(bounds, [0, 0, 0, 0], 0.5) is None
    assert quantile([], [], 0.5) is None


def test_histograms_of_workers_add_up() -> None:
    def worker(quick: int, slow: int) -> list[Any]:
        rows = [("0.1", quick), ("+Inf", quick + slow)]
        buckets = [["h_bucket", [["route", "/a"], ["le", bound]], count] for bound, count in rows]
        return [["h", "histogram", "", [*buckets, ["h_sum", [["route", "/a"]], slow * 2.0]]]]

    both = durations(merge([worker(3, 1), worker(5, 1)]), "h", "route")["/a",]
    assert (both.count, both.seconds, both.counts[0.1]) == (10, 4.0, 8)
