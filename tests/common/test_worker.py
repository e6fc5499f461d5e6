"""A worker on its own: what services rely on in their tests, and the flags they read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from common.worker import Worker

AiohttpClient = Callable[[web.Application], Awaitable[TestClient[web.Request, web.Application]]]


def application(worker: Worker) -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def fails(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    app = web.Application()
    app.on_response_prepare.append(worker.announce_closing)
    app.router.add_get("/", hello)
    app.router.add_get("/fails", fails)
    app.router.add_get("/socket", upgrade)
    return app


@pytest.mark.parametrize("path", ["/", "/fails"])
async def test_answers_end_their_connection_only_while_retiring(aiohttp_client: AiohttpClient, path: str) -> None:
    worker = Worker()
    client = await aiohttp_client(application(worker))
    assert "Connection" not in (await client.get(path)).headers
    worker.retire("reload")
    assert (await client.get(path)).headers["Connection"] == "close"


async def test_upgrade_is_left_alone_while_retiring(aiohttp_client: AiohttpClient) -> None:
    worker = Worker()
    client = await aiohttp_client(application(worker))
    worker.retire("reload")
    async with client.ws_connect("/socket") as socket:
        assert (await socket.receive()).type.name == "CLOSE"


async def test_without_a_parent_metrics_are_its_own() -> None:
    worker = Worker()
    assert await worker.merged_metrics() == []
    own: list[Any] = [["up", "gauge", "Up.", [["up", [], 1]]]]
    worker.snapshot = lambda: own
    assert await worker.merged_metrics() == own
    assert await worker.status() == []


@pytest.mark.parametrize(
    ("manner", "draining", "hastened"), [("reload", False, False), ("drain", True, False), ("stop", True, True)]
)
async def test_manner_of_retiring(manner: str, draining: bool, hastened: bool) -> None:
    worker = Worker()
    waiting = asyncio.create_task(worker.retired.wait())
    worker.retire(manner)
    assert await waiting
    assert (worker.retiring, worker.draining, worker.hastened.is_set()) == (True, draining, hastened)


async def test_drain_survives_a_later_reload_order() -> None:
    worker = Worker()
    worker.retire("drain")
    worker.retire("reload")
    assert worker.draining
