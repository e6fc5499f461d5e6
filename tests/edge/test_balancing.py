"""Several servers behind one upstream: real ones, killed, hung, drained and brought back under load."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from click.testing import CliRunner, Result

from common.http1 import Pool
from edge.entries import UpstreamEntry
from edge.health import EdgeHealth
from edge.identity.auth_client import AuthClient
from edge.upstream.registry import Upstreams
from edge.upstream.upstream import Upstream
from edge.upstream.weights import WeightsFile, read_weights, weights_file, write_weights
from ops.cli import cli
from ops.stack.errors import StackError
from tests.edge.conftest import Edge, Runtime, StartEdge
from tests.edge.replicas import Replica, balancing, get, replicas, tables, until

HEALTH = {"path": "/healthz", "interval": 0.1, "timeout": 0.5}


@asynccontextmanager
async def load(edge: Edge, method: str = "GET", clients: int = 8) -> AsyncIterator[Counter[int]]:
    """Clients that ask all the time; their answers by status, 0 for a broken connection."""
    statuses: Counter[int] = Counter()
    ending = asyncio.Event()

    async def ask(client: ClientSession) -> None:
        while not ending.is_set():
            try:
                async with client.request(method, "/", data=b"x" if method == "POST" else None) as response:
                    await response.read()
                    statuses[response.status] += 1
            except (OSError, ConnectionError):
                statuses[0] += 1

    asking = [asyncio.create_task(ask(edge.client)) for _ in range(clients)]
    try:
        yield statuses
    finally:
        ending.set()
        await asyncio.gather(*asking)


async def more(servers: list[Replica], count: int = 30) -> None:
    """Waits until each of `servers` got that many more requests."""
    wanted = [server.requests() + count for server in servers]
    await until(lambda: all(server.requests() >= goal for server, goal in zip(servers, wanted, strict=True)), 40)


@pytest.mark.parametrize("health", ["", 'health = { path = "/healthz", interval = 0.5, timeout = 2 }'])
async def test_killed_replica_fails_no_request_and_rejoins_by_itself(start_edge: StartEdge, health: str) -> None:
    async with replicas(None, None, None) as servers:
        edge = await start_edge(tables(servers, health))
        async with load(edge) as statuses:
            await more(servers)
            for victim in servers[:2]:
                await victim.kill()
                await more([server for server in servers if server is not victim])
                await victim.start()
                await more(servers)
        assert statuses.keys() == {200}


async def test_posts_survive_a_replica_that_is_gone(start_edge: StartEdge) -> None:
    """What was in its hands when it was killed may be lost; not one request after that."""
    async with replicas(None, None) as servers:
        edge = await start_edge(tables(servers))
        await servers[0].kill()
        async with load(edge, "POST") as statuses:
            await more(servers[1:])
            await servers[0].start()
            await more(servers)
        assert statuses.keys() == {200}


async def test_hung_replica_is_found_by_its_health_check_and_forgiven() -> None:
    hangs = asyncio.Event()

    async def sometimes(_request: web.BaseRequest) -> web.Response:
        if hangs.is_set():
            await asyncio.Event().wait()
        return web.Response(text="r0")

    async with (
        replicas(sometimes, None) as servers,
        balancing(servers, health={**HEALTH, "timeout": 0.2}) as upstream,
    ):
        await until(lambda: all(server.seen for server in servers))
        hangs.set()
        await until(lambda: upstream.state()[0].state == "unhealthy")
        assert {await get(upstream) for _ in range(10)} == {"r1"}
        hangs.clear()
        await until(lambda: upstream.state()[0].state == "slow-start")
        assert "r0" in [await get(upstream) for _ in range(30)]


async def test_replica_whose_check_fails_gets_nothing_until_it_passes() -> None:
    status = 503

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status) if request.path == "/healthz" else web.Response(text="r0")

    async with replicas(answer, None) as servers, balancing(servers, health=HEALTH) as upstream:
        await until(lambda: upstream.state()[0].state == "unhealthy")
        assert Counter([await get(upstream) for _ in range(10)]) == {"r1": 10}
        status = 204
        await until(lambda: upstream.state()[0].state != "unhealthy")
        assert "r0" in [await get(upstream) for _ in range(30)]
        assert upstream.state()[0].ejections == 1


async def test_health_checks_come_at_their_interval() -> None:
    async with replicas(None, None) as servers, balancing(servers, health={**HEALTH, "interval": 0.2}):
        started = asyncio.get_running_loop().time()
        await until(lambda: all(len(server.seen) >= 5 for server in servers))
        seconds = asyncio.get_running_loop().time() - started
        assert seconds >= 4 * 0.2 * 0.9
        assert all(len(server.seen) <= 2 + seconds / (0.2 * 0.9) for server in servers)
        assert {line for server in servers for line in server.seen} == {"GET /healthz"}


async def test_health_check_every_replica_fails_stops_nothing() -> None:
    """A wrong path must not be an outage."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404) if request.path == "/healthz" else web.Response(text="fine")

    async with replicas(answer, answer) as servers, balancing(servers, health=HEALTH) as upstream:
        await until(lambda: all(state.state == "unhealthy" for state in upstream.state()))
        assert {await get(upstream) for _ in range(10)} == {"fine"}
        assert upstream.is_panicking


async def test_only_server_is_used_whatever_its_check_says() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=500) if request.path == "/healthz" else web.Response(text="fine")

    async with replicas(answer) as servers, balancing(servers, health=HEALTH) as upstream:
        await until(lambda: upstream.state()[0].state == "unhealthy")
        assert await get(upstream) == "fine"


async def test_only_server_without_health_is_not_looked_after(start_edge: StartEdge) -> None:
    async with replicas(None) as servers:
        upstream = Upstream("it", UpstreamEntry(servers=[servers[0].url]))
        upstream.start({})
        assert await get(upstream) == "r0"
        state = upstream.state()[0]
        assert (state.state, state.in_flight, state.idle, state.latency_ms) == ("healthy", 0, 1, None)
        await upstream.close()
        assert servers[0].seen == ["GET /"]


async def test_replica_that_answers_503_again_and_again_is_left_out() -> None:
    async def refuse(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=503, text="refused")

    async with replicas(refuse, None) as servers, balancing(servers) as upstream:
        answers = Counter([await get(upstream) for _ in range(100)])
        assert answers["refused"] <= 5
        assert answers["r1"] >= 95


async def test_state_says_how_each_server_fares() -> None:
    release = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.Response:
        if request.path == "/wait":
            await release.wait()
        return web.Response()

    async with replicas(wait, wait) as servers, balancing(servers, weight={servers[1].url: 0}) as upstream:
        await get(upstream)
        waiting = asyncio.create_task(get(upstream, b"/wait"))
        await until(lambda: "GET /wait" in servers[0].seen)
        first, second = upstream.state()
        assert (first.url, first.weight, first.state, first.in_flight) == (servers[0].url, 1, "healthy", 1)
        assert first.latency_ms is not None
        assert first.latency_ms >= 1
        assert (second.url, second.weight, second.state, second.in_flight) == (servers[1].url, 0, "draining", 0)
        release.set()
        await waiting


# --- weights: canary, blue and green ---------------------------------------------------------------------------------


async def test_table_weights_are_shares(start_edge: StartEdge) -> None:
    async with replicas(None, None) as servers:
        edge = await start_edge(tables(servers, f'weight = {{ "{servers[0].url}" = 3 }}'))
        for _ in range(40):
            async with edge.client.get("/") as response:
                assert response.status == 200
        assert [server.requests() for server in servers] == [30, 10]


async def switch(var: Path, *words: str) -> None:
    """The command as it is typed, in a process of its own."""
    environ = {
        "GATEHOUSE_VAR": str(var),
        "EDGE_ROUTES": str(var / "routes1.toml"),
        "GATEHOUSE_ENV_FILE": "/nonexistent",
    }
    command = (sys.executable, "-m", "ops.cli", "weight", *words)
    running = await asyncio.create_subprocess_exec(*command, env=os.environ | environ, stdout=asyncio.subprocess.PIPE)
    await running.communicate()
    assert running.returncode == 0


async def test_switch_and_switch_back_under_load_lose_no_request(start_edge: StartEdge, tmp_path: Path) -> None:
    """J11 by the command itself; when it returns, the server that was switched off gets nothing more."""
    async with replicas(None, None) as (blue, green):
        text = tables([blue, green], f'weight = {{ "{green.url}" = 0 }}')
        edge = await start_edge(text)
        async with load(edge, "POST") as statuses:
            await more([blue])
            assert green.requests() == 0
            await switch(tmp_path, "it", green.url, "1", blue.url, "0")
            before = blue.requests()
            await more([green], 200)
            assert blue.requests() == before
            # What was switched holds over a restart of the edge.
            restarted = await start_edge(text)
            async with restarted.client.get("/") as response:
                assert await response.text() == green.name
            await switch(tmp_path, "it", blue.url, "1", green.url, "0")
            before = green.requests()
            await more([blue], 200)
            assert green.requests() == before
        assert statuses.keys() == {200}


async def test_canary_gets_its_share_under_load(start_edge: StartEdge, tmp_path: Path) -> None:
    async with replicas(None, None) as (stable, canary):
        edge = await start_edge(tables([stable, canary]))
        await switch(tmp_path, "it", stable.url, "9", canary.url, "1")
        async with load(edge, clients=16) as statuses:
            await more([canary], 60)
        assert statuses.keys() == {200}
        assert canary.requests() / statuses[200] == pytest.approx(0.1, abs=0.03)


Command = Callable[..., Result]


@pytest.fixture
def weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`gatehouse weight` over a table with blue and green."""
    table = tmp_path / "routes.toml"
    table.write_text(
        '[upstream.a]\nservers = ["http://blue:1", "http://green:1/"]\nweight = { "http://green:1" = 0 }\n'
        'service_key = "env:AUTH_SERVICE_KEY"\n[upstream.b]\nservers = ["http://one:1"]\n'
    )
    monkeypatch.setenv("GATEHOUSE_VAR", str(tmp_path))
    monkeypatch.setenv("EDGE_ROUTES", str(table))
    monkeypatch.setenv("GATEHOUSE_ENV_FILE", "/nonexistent")
    return lambda *words: CliRunner().invoke(cli, ["weight", *words])


def test_weight_command_lists_changes_and_goes_back(weight: Command, tmp_path: Path) -> None:
    def weights(*words: str) -> list[int]:
        return [one["weight"] for one in json.loads(weight(*words, "--json").stdout)]

    assert weights() == [1, 0, 1]
    assert weights("a", "http://blue:1/", "0", "http://green:1", "3") == [0, 3]
    assert weights("b", "http://one:1", "7") == [7]
    assert read_weights(weights_file(tmp_path)) == {
        "a": {"http://green:1": 3, "http://blue:1": 0},
        "b": {"http://one:1": 7},
    }
    said = weight("a").stdout.splitlines()
    assert [line.split() for line in said[1:]] == [
        ["a", "http://blue:1", "0", "0%", "1"],
        ["a", "http://green:1", "3", "100%", "0"],
    ]
    assert weights("a", "--reset") == [1, 0]
    assert read_weights(weights_file(tmp_path)) == {"b": {"http://one:1": 7}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("c",), "c is no upstream; the route table has a, b"),
        (("a", "http://red:1", "1"), "http://red:1 is no server of a; there are http://blue:1, http://green:1"),
        (("a", "http://blue:1", "0"), "at least one server of a must keep a weight above 0"),
        (("a", "http://blue:1", "1001"), "1001 is too much: weights go from 0 to 1000"),
    ],
)
def test_weight_that_makes_no_sense_is_refused(
    weight: Command, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(StackError, match=said):
        raise weight(*words).exception or AssertionError
    assert not weights_file(tmp_path).exists()


@pytest.mark.parametrize("words", [("a", "http://blue:1", "half"), ("a", "http://blue:1"), ("--reset",)])
def test_weight_typed_wrongly_is_status_2(weight: Command, words: tuple[str, ...]) -> None:
    assert weight(*words).exit_code == 2


async def test_file_of_weights_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file = weights_file(tmp_path)
    weights = WeightsFile(file)
    entry = UpstreamEntry(servers=["http://a:1", "http://b:1"], weight={"http://a:1": 5})
    upstreams = Upstreams({"it": entry}, weights)

    def now() -> list[int]:
        if weights.look():
            upstreams.weigh()
        return [state.weight for state in upstreams["it"].state()]

    assert now() == [5, 1]
    write_weights(file, {"it": {"http://b:1": 2, "http://gone:1": 9}, "other": {"http://a:1": 0}})
    assert now() == [5, 2]
    for junk in (b"{", b"[]", b'{"it": {"http://b:1": -1}}', b'{"it": {"http://b:1": true}}', b'{"it": 3}', b"\xff"):
        file.write_bytes(junk)
        assert now() == [5, 2]
    file.unlink()
    assert now() == [5, 1]
    await upstreams.close()


# --- what the edge itself asks ---------------------------------------------------------------------------------------


async def test_service_is_ready_when_any_of_its_servers_is() -> None:
    async def ready(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"success": True, "checks": {"database": "healthy"}})

    async def unready(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"success": False, "checks": {"database": "unhealthy"}}, status=503)

    async with replicas(unready, ready, None) as servers:
        await servers[2].kill()
        pools = [Pool(server.url) for server in servers]

        class Limiter:
            degraded = False

        async def status(*chosen: Pool) -> tuple[int, str]:
            health = EdgeHealth(lambda: {"core": chosen}, Limiter(), Runtime())  # type: ignore[arg-type]
            code, body = await health.answer("/health/ready")
            return code, body["checks"]["core"] + ", database " + body["checks"].get("database", "unknown")

        assert await status(*pools) == (200, "healthy, database healthy")
        assert await status(pools[0], pools[2]) == (503, "healthy, database unhealthy")
        assert await status(pools[2]) == (503, "unhealthy, database unknown")
        for pool in pools:
            await pool.close()


async def test_edge_asks_another_auth_server_when_one_is_gone() -> None:
    """A key is resolved, and the feed read, by whichever replica is there (A13, A14)."""

    async def keys(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"keys": [{"kid": "1"}]})

    async with replicas(None, keys) as servers, balancing(servers) as upstream:
        await servers[0].kill()
        client = AuthClient({"auth": upstream}, "key")
        for _ in range(4):
            assert await client.jwks() == [{"kid": "1"}]
