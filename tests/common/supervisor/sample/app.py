"""The application: echoes, and shows what the worker knows about itself."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from common.worker import Worker

from .settings import SampleError, config


async def build(worker: Worker) -> Mapping[str, web.BaseRunner]:
    settings = config()
    if settings.get("boot") == "fail":
        raise SampleError("the sample does not want to boot")
    if settings.get("boot") == "hang":
        await asyncio.Event().wait()
    runner = web.AppRunner(_app(worker, settings))
    return {"http": runner, "admin": runner} if settings.get("admin") else {"http": runner}


def _app(worker: Worker, settings: dict[str, Any]) -> web.Application:
    answered = 0

    def families() -> list[Any]:
        return [
            ["requests", "counter", "Requests.", [["requests_total", [["route", "/"]], answered]]],
            ["up", "gauge", "Workers.", [["up", [], 1]]],
        ]

    async def echo(request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        return web.json_response(
            {"pid": os.getpid(), "version": settings.get("version"), "echo": (await request.read()).decode()}
        )

    async def ready(request: web.Request) -> web.Response:
        return web.json_response({"retiring": worker.retiring}, status=503 if worker.draining else 200)

    async def metrics(request: web.Request) -> web.Response:
        return web.json_response(await worker.merged_metrics())

    async def status(request: web.Request) -> web.Response:
        return web.json_response(await worker.status())

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 3_000_000)

    worker.snapshot = families
    app = web.Application()
    app.on_response_prepare.append(worker.announce_closing)
    app.router.add_post("/", echo)
    for path, handler in (
        ("/ready", ready),
        ("/metrics", metrics),
        ("/status", status),
        ("/large", large),
    ):
        app.router.add_get(path, handler)
    return app
