"""A changed route table takes effect by itself, or is refused; no request notices."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from edge.entries import Table
from edge.table import read_table
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table

APPLIED_SECONDS = 5.0
INCLUDES = 'include = ["routes.d/*.toml"]\n'


def own(upstream: str, name: str, path: str, **options: str) -> str:
    """A file of somebody's own: an upstream and its route."""
    return table(upstream, path, **options).replace("it", name, 1).replace('upstream = "it"', f'upstream = "{name}"')


def drop(folder: Path, name: str, text: str) -> Path:
    (folder / "routes.d").mkdir(exist_ok=True)
    file = folder / "routes.d" / name
    file.write_text(text)
    return file


async def status(edge: Edge, path: str, host: str = "api.test") -> int:
    async with edge.client.get(path, headers={"Host": host}) as response:
        await response.read()
        return response.status


async def within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)


async def becomes(edge: Edge, expected: int, path: str, host: str = "api.test") -> None:
    async def is_there() -> bool:
        return await status(edge, path, host) == expected

    await within(APPLIED_SECONDS, is_there)


@pytest.fixture
async def upstream(start_upstream: StartUpstream) -> str:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    return await start_upstream(answer)


async def test_dropped_file_is_routable_within_5_s_and_gone_when_it_is_removed(
    start_edge: StartEdge, upstream: str, tmp_path: Path
) -> None:
    edge = await start_edge(INCLUDES + table(upstream, "/old"), DOMAINS="api.test", EDGE_WATCH_SECONDS="1")
    assert await status(edge, "/shop", "shop.test") == 421
    file = drop(tmp_path, "shop.toml", own(upstream, "shop", "/shop", hosts='["shop.test"]'))
    await becomes(edge, 200, "/shop", "shop.test")
    assert await status(edge, "/shop") == 404, "the other hosts have no such path"
    file.unlink()
    await becomes(edge, 421, "/shop", "shop.test")
    assert await status(edge, "/shop") == 404
    assert await status(edge, "/old") == 200


async def test_table_that_lacks_a_variable_is_taken_in_when_the_variable_is_set(
    start_edge: StartEdge, upstream: str, tmp_path: Path
) -> None:
    env_file = tmp_path / "gatehouse.env"
    with structlog.testing.capture_logs() as logs:
        edge = await start_edge(INCLUDES + table(upstream, "/old"), GATEHOUSE_ENV_FILE=str(env_file))
        drop(tmp_path, "shop.toml", own("env:SHOP_URL", "shop", "/shop"))
        async with asyncio.timeout(APPLIED_SECONDS):
            while not any(entry["event"] == "table_refused" for entry in logs):
                await asyncio.sleep(0.02)
        assert await status(edge, "/shop") == 404
        env_file.write_text(f"SHOP_URL={upstream}\n")
        await becomes(edge, 200, "/shop")
        async with asyncio.timeout(APPLIED_SECONDS):  # said once the table is kept too
            while not any(entry["event"] == "table_changed" for entry in logs):
                await asyncio.sleep(0.02)
    assert [entry["event"] for entry in logs if entry["event"].startswith("table_")] == [
        "table_refused",
        "table_changed",
    ]


async def test_no_request_fails_while_routes_come_change_and_go(
    start_edge: StartEdge, start_upstream: StartUpstream, upstream: str, tmp_path: Path
) -> None:
    async def other(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"other" + await request.read())

    edge = await start_edge(INCLUDES + table(upstream, "/kept"))
    second = await start_upstream(other)
    over, failed, sent = asyncio.Event(), [], 0

    async def load(number: int) -> None:
        nonlocal sent
        while not over.is_set():
            sent += 1
            async with edge.client.post("/kept", data=f"{number}-{sent}" * 100) as response:
                if (response.status, await response.text()) != (200, f"{number}-{sent}" * 100):
                    failed.append(response.status)
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(load(0))]
    file = drop(tmp_path, "more.toml", own(upstream, "more", "/more"))
    await becomes(edge, 200, "/more")
    file.write_text(own(second, "more", "/more"))

    async def is_the_other() -> bool:
        async with edge.client.get("/more") as response:
            assert response.status == 200
            return await response.read() == b"other"

    await within(APPLIED_SECONDS, is_the_other)
    file.unlink()
    await becomes(edge, 404, "/more")
    over.set()
    await asyncio.gather(*tasks)
    assert sent > 100
    assert failed == []


async def test_request_under_way_is_answered_by_the_upstream_that_the_table_has_lost(
    start_edge: StartEdge, start_upstream: StartUpstream, upstream: str, tmp_path: Path
) -> None:
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await may_answer.wait()
        return web.Response(text="late, and whole")

    gone = own(await start_upstream(slow), "slow", "/slow") + own(upstream, "quick", "/quick")
    file = drop(tmp_path, "gone.toml", gone)
    edge = await start_edge(INCLUDES + table(upstream, "/old"))
    asked = asyncio.create_task(edge.client.get("/slow"))
    await arrived.wait()
    file.unlink()
    await becomes(edge, 404, "/quick")
    may_answer.set()
    async with await asked as response:
        assert (response.status, await response.text()) == (200, "late, and whole")


async def test_faulty_file_is_refused_by_name_and_line_and_the_old_table_serves_on(
    start_edge: StartEdge, upstream: str, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logged:
        edge = await start_edge(INCLUDES + table(upstream, "/old"))
        file = drop(tmp_path, "bad.toml", own(upstream, "bad", "/bad", colour='"blue"') + '[[route]]\npath = "x"\n')

        def refusals() -> list[str]:
            return [fault for line in logged if line["event"] == "table_refused" for fault in line["faults"]]

        async def is_refused() -> bool:
            assert await status(edge, "/old") == 200
            return bool(refusals())

        await within(APPLIED_SECONDS, is_refused)
        assert f"{file}:9: unknown field 'colour'" in refusals()
        assert f"{file}:10: upstream is required" in refusals()
        assert await status(edge, "/bad") == 404
        file.write_text(own(upstream, "bad", "/bad"))
        await becomes(edge, 200, "/bad")
    assert len([line for line in logged if line["event"] == "table_refused"]) == 1


async def test_unchanged_upstream_keeps_its_connection(
    start_edge: StartEdge, start_raw_upstream: Callable[..., Awaitable[str]], tmp_path: Path
) -> None:
    opened = 0

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while await reader.readline():
            while await reader.readline() not in (b"\r\n", b""):
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    raw = await start_raw_upstream(keep_alive)
    edge = await start_edge(INCLUDES + table(raw, "/old"))
    assert await status(edge, "/old") == 200
    drop(tmp_path, "more.toml", '[[route]]\npath = "/more"\nupstream = "it"\nauth = "none"\nlimits = []\n')
    await becomes(edge, 200, "/more")
    assert opened == 1


async def test_worker_that_replaces_another_serves_the_table_in_force_while_the_files_are_faulty(
    start_edge: StartEdge, upstream: str, tmp_path: Path
) -> None:
    edge = await start_edge(INCLUDES + table(upstream, "/old"))
    kept = tmp_path / "run" / "edge-table.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    half, limits = drop(tmp_path, "half.toml", '[[route]]\npath = "/ha'), tmp_path / "limits.toml"
    another = await start_edge(INCLUDES + table(upstream, "/new"), EDGE_WATCH_SECONDS="0")
    assert await status(another, "/old") == 200
    assert await status(another, "/new") == 404
    half.unlink()
    limits.write_text("[tier.pro")
    another = await start_edge(INCLUDES + table(upstream, "/new"), EDGE_WATCH_SECONDS="0", EDGE_LIMITS=str(limits))
    assert await status(another, "/old") == 200
    assert await status(another, "/new") == 404
    assert await status(edge, "/old") == 200
    assert {route["path"] for route in json.loads(kept.read_text())["routes"]} == {"/old"}


async def test_watching_can_be_switched_off(start_edge: StartEdge, upstream: str, tmp_path: Path) -> None:
    watching = await start_edge(INCLUDES + table(upstream, "/old"))
    blind = await start_edge(INCLUDES + table(upstream, "/old"), EDGE_WATCH_SECONDS="0")
    drop(tmp_path, "more.toml", own(upstream, "more", "/more"))
    await becomes(watching, 200, "/more")
    assert await status(blind, "/more") == 404


async def test_changed_tiers_take_effect_and_faulty_ones_are_refused(
    start_edge: StartEdge, upstream: str, tmp_path: Path
) -> None:
    tiers = tmp_path / "limits.toml"
    tiers.write_text("[tier.pro]\ngeneral = 2\n")
    with structlog.testing.capture_logs() as logged:
        await start_edge(table(upstream, "/old"), EDGE_LIMITS=str(tiers))

        async def is_logged(event: str) -> bool:
            return any(line["event"] == event for line in logged)

        tiers.write_text("[tier.pro]\ngeneral = 30\n")
        await within(APPLIED_SECONDS, lambda: is_logged("table_changed"))
        tiers.write_text("[tier.pro]\nauth = 3\n")
        await within(APPLIED_SECONDS, lambda: is_logged("table_refused"))
    (refusal,) = (line for line in logged if line["event"] == "table_refused")
    assert refusal["faults"] == [f"{tiers}:2: auth counts addresses, which have no tier"]


def test_table_in_force_can_be_kept_whatever_it_says(tmp_path: Path) -> None:
    upstreams = (
        '[upstream.it]\nservers = ["http://a:1", "http://b:1"]\nservice_key = "env:KEY"\nconnections_max = 9\n'
        'weight = { "http://a:1" = 3 }\nhealth = { path = "/up", interval = 3, timeout = 1 }\n'
    )
    ordinary = (
        'hosts = ["a.test"]\nmethods = ["GET"]\npermission = "reports:read"\nrewrite = "/new"\nbody_max = "2KiB"\n'
        'timeout = { connect = 1 }\nerrors = "openai"\nallow = ["10.0.0.0/8"]\ndeny = ["10.1.0.0/16"]\n'
        'cache = { seconds = 5 }\nheaders = { response = { set = { X-A = "b" }, remove = ["Server"] } }\n'
    )
    routes = [
        ("/x", ordinary),
        ("/s", "stream = true\n"),
        ("/w", "websocket = true\n"),
        ("/off", "compress = false\nstream = false\n"),
    ]
    file = tmp_path / "routes.toml"
    file.write_text(
        upstreams + "".join(f'[[route]]\npath = "{path}"\nupstream = "it"\n{said}' for path, said in routes)
    )
    table = read_table(file, {"KEY": "k" * 40}.get)
    assert Table.model_validate_json(table.model_dump_json(exclude_unset=True)) == table
