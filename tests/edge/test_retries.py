"""What is sent again, to whom, and how often."""

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from common.http1 import ConnectFailed, FirstByteTimeout, PoolExhausted, Timeouts, UpstreamClosed
from edge.upstream.budget import FLOOR, SHARE, WINDOW_SECONDS, RetryBudget
from tests.edge.conftest import StartEdge
from tests.edge.replicas import balancing, get, replicas, tables, until


async def break_off(request: web.BaseRequest) -> web.Response:
    """Reads the request and closes without a word."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"some")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_idempotent_request_that_broke_off_is_answered_by_another_server(
    start_edge: StartEdge, method: str
) -> None:
    async with replicas(break_off, None) as (bad, good):
        edge = await start_edge(tables([bad, good]))
        for _ in range(4):
            async with edge.client.request(method, "/x", data=b"body" if method == "PUT" else None) as response:
                assert response.status == 200
        assert bad.requests() >= 1
        assert good.requests() == 4


async def test_post_that_broke_off_is_502_and_was_sent_once(start_edge: StartEdge) -> None:
    async with replicas(break_off, break_off) as servers:
        edge = await start_edge(tables(servers))
        for _ in range(4):
            async with edge.client.post("/", data=b"pay") as response:
                assert response.status == 502
        assert sum(server.requests() for server in servers) == 4


async def test_body_that_is_gone_is_not_sent_again(start_edge: StartEdge) -> None:
    async with replicas(break_off, break_off) as servers:
        edge = await start_edge(tables(servers, route='body_max = "8MiB"'))
        async with edge.client.put("/", data=b"x" * 1_000_000) as response:
            assert response.status == 502
        assert sum(server.requests() for server in servers) == 1


async def test_retries_0_sends_nothing_again_and_more_go_further(start_edge: StartEdge) -> None:
    async with replicas(break_off, break_off, break_off, break_off) as servers:
        for retries, sent in ((0, 1), (1, 2), (3, 4), (5, 4)):
            edge = await start_edge(tables(servers, route=f"retries = {retries}"))
            before = sum(server.requests() for server in servers)
            async with edge.client.get("/") as response:
                assert response.status == 502
            assert sum(server.requests() for server in servers) - before == sent


async def test_answer_that_began_is_never_begun_again(start_edge: StartEdge) -> None:
    async with replicas(cut, cut) as servers:
        edge = await start_edge(tables(servers))
        raw = await edge.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.endswith(b"\r\n\r\nsome")
        assert sum(server.requests() for server in servers) == 1


async def test_waiting_in_vain_is_not_done_twice(start_edge: StartEdge) -> None:
    async def hang(_request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with replicas(hang, hang) as servers:
        edge = await start_edge(tables(servers, route="timeout = { first_byte = 0.3 }"))
        async with edge.client.get("/") as response:
            assert response.status == 504
            assert (await response.json())["error"] == "GatewayTimeout"
        assert sum(server.requests() for server in servers) == 1


async def test_request_nobody_received_goes_on_whatever_it_is(start_edge: StartEdge, unused_tcp_port: int) -> None:
    """Also a POST, also one whose body streams, also without retries: no byte of it had left."""
    async with replicas(None, None) as (dead, good):
        await dead.kill()
        edge = await start_edge(tables([dead, good], route='retries = 0\nbody_max = "8MiB"'))
        for size in (3, 1_000_000) * 4:
            async with edge.client.post("/", data=b"x" * size) as response:
                assert (response.status, await response.text()) == (200, "r1")


async def test_nobody_there_is_502(start_edge: StartEdge) -> None:
    async with replicas(None, None) as servers:
        for server in servers:
            await server.kill()
        edge = await start_edge(tables(servers))
        async with edge.client.get("/") as response:
            assert response.status == 502
            assert (await response.json())["error"] == "BadGateway"


async def test_full_server_is_no_failing_one_and_another_takes_over() -> None:
    release = asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.Response:
        await release.wait()
        return web.Response(text="waited")

    async with replicas(wait, wait) as servers, balancing(servers, connections_max=1) as upstream:
        waiting = [asyncio.create_task(get(upstream)) for _ in servers]
        await until(lambda: all(server.requests() for server in servers))
        with pytest.raises(PoolExhausted):
            await get(upstream)
        assert [state.state for state in upstream.state()] == ["healthy", "healthy"]
        assert [state.failures for state in upstream.state()] == [0, 0]
        release.set()
        assert await asyncio.gather(*waiting) == ["waited", "waited"]


async def test_when_all_break_off_the_budget_ends_it() -> None:
    async with replicas(break_off, break_off) as servers, balancing(servers) as upstream:
        requests = 100
        for _ in range(requests):
            with pytest.raises((UpstreamClosed, ConnectFailed)):
                await get(upstream)
        sent = sum(server.requests() for server in servers)
        assert requests + FLOOR <= sent <= requests * (1 + SHARE) + FLOOR
        assert sum(state.retries for state in upstream.state()) == sent - requests


async def test_time_outs_are_failures_that_eject() -> None:
    async def hang(_request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with replicas(hang, hang) as servers, balancing(servers) as upstream:
        timeouts = Timeouts(first_byte=0.02)
        for _ in range(12):
            with pytest.raises(FirstByteTimeout):
                await get(upstream, timeouts=timeouts)
        assert sum(state.failures for state in upstream.state()) == 12
        assert "ejected" in [state.state for state in upstream.state()]


class Model:
    """Every request and retry ever, and nothing clever."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.retries: list[int] = []

    def take(self, second: int) -> bool:
        requests, retries = (
            sum(time > second - WINDOW_SECONDS for time in times) for times in (self.requests, self.retries)
        )
        if retries + 1 > requests * SHARE + FLOOR:
            return False
        self.retries.append(second)
        return True


@given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 3, 25]), st.integers(0, 60), st.integers(0, 60)), max_size=40))
def test_budget_is_a_fifth_of_the_last_ten_seconds_and_a_floor(steps: list[tuple[int, int, int]]) -> None:
    budget, model, now = RetryBudget(), Model(), 1000.5
    for seconds, requests, retries in steps:
        now += seconds
        for _ in range(requests):
            budget.count(now)
            model.requests.append(int(now))
        assert [budget.take(now) for _ in range(retries)] == [model.take(int(now)) for _ in range(retries)]
