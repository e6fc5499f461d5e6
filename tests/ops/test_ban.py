"""`gatehouse ban` and the private socket it asks."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from edge.bans.admin import BanAdmin
from edge.bans.ban_list import BanList

Ban = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def ban(tmp_path: Path) -> Ban:
    """Runs `gatehouse ban …` over the state directory of this test: status, what it printed, what it complained."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ops.cli", "ban", *arguments),
            env=os.environ | {"GATEHOUSE_VAR": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[BanList]:
    """The ban list of an edge that listens on its private socket."""
    banned = BanList()
    app = web.Application()
    desk = BanAdmin(banned, is_trusted=lambda address: address == "10.0.0.1", seconds=3600, rules=())
    app.add_routes(desk.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    (tmp_path / "run").mkdir()
    await web.UnixSite(runner, str(tmp_path / "run" / "edge-admin.sock")).start()
    yield banned
    await runner.cleanup()


@pytest.mark.usefixtures("admin")
async def test_bans_are_added_listed_and_lifted(ban: Ban) -> None:
    assert await ban("list") == (0, "nobody is banned\n", "")
    status, out, _ = await ban("add", "2001:db8::7", "--seconds", "120", "--json")
    assert (status, json.loads(out)) == (0, {"address": "2001:db8::/64", "seconds": 120, "shared": False})
    status, out, _ = await ban("add", "203.0.113.7")
    assert out == "203.0.113.7 is banned for 1 h 0 min, in the one edge process that was asked: the store is away\n"
    status, out, _ = await ban("list", "--json")
    assert [item["address"] for item in json.loads(out)] == ["2001:db8::/64", "203.0.113.7"]
    assert "203.0.113.7" in (await ban("list"))[1]
    assert "2001:db8::/64 may come again" in (await ban("lift", "2001:db8::/64"))[1]
    assert "was not banned" in (await ban("lift", "2001:db8::7"))[1]


@pytest.mark.usefixtures("admin")
async def test_refusal_is_one_clear_sentence(ban: Ban) -> None:
    status, out, err = await ban("add", "10.0.0.1")
    assert (status, out) == (1, "")
    assert err == "error: 10.0.0.1 is a trusted proxy: banning it would ban everybody behind it\n"
    assert (await ban("lift", "nobody"))[2] == "error: 'nobody' is no address\n"
    assert (await ban("add"))[0] == 2


async def test_nothing_running_is_said(ban: Ban, tmp_path: Path) -> None:
    status, _, err = await ban("list")
    assert (status, err) == (1, f"error: no edge is running over {tmp_path}\n")
