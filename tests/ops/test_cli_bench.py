"""The load client that the benchmark uses where wrk is not installed."""

import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ops.bench import load


async def measured(monkeypatch: pytest.MonkeyPatch, status: int) -> tuple[int, int]:
    """Requests that the server answered, and those that the client counted within one second."""
    served = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal served
        assert request.headers["X-Mark"] == "here"
        served += 1
        return web.Response(text="constant", status=status)

    monkeypatch.setattr("shutil.which", lambda name: None)
    app = web.Application()
    app.router.add_get("/bare", answer)
    outcome: list[int | Exception] = []

    def run(url: str) -> None:
        try:
            outcome.append(load.load(load.Request(url, {"X-Mark": "here"}), 1).requests)
        except load.BadAnswer as error:
            outcome.append(error)

    async with TestServer(app) as server:
        import asyncio

        thread = threading.Thread(target=run, args=(str(server.make_url("/bare")),))
        thread.start()
        await asyncio.to_thread(thread.join, 20)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return served, outcome[0]


async def test_every_answered_request_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    served, counted = await measured(monkeypatch, 200)
    assert served == counted > load.CONNECTIONS


async def test_other_answers_than_200_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(load.BadAnswer, match="503"):
        await measured(monkeypatch, 503)
