"""The admin interface: GET alone, but for bans; answers in the success envelope."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from common import json
from common.health import get_metrics
from common.metrics import METRICS, HttpMetrics
from common.runtime import RUNTIME, Runtime
from edge.admin import views
from edge.admin.insight import Insight


class Admin:
    """`insight` is None while the edge is opening; whoever asks then is told to come again."""

    def __init__(self, runtime: Runtime) -> None:
        self.insight: Insight | None = None
        self._runtime = runtime

    def app(self, metrics: HttpMetrics, others: Iterable[web.RouteDef] = ()) -> web.Application:
        """What only this machine may ask, `others` included."""
        app = web.Application()
        app[RUNTIME] = self._runtime
        app[METRICS] = metrics
        app.router.add_get("/metrics", get_metrics)
        app.add_routes([*self._routes(), *others])
        return app

    def _routes(self) -> Iterable[web.RouteDef]:
        yield web.get("/routes", self._configured(views.routes))
        yield web.get("/middlewares", self._configured(views.middlewares))
        yield web.get("/upstreams", self._measured(views.upstreams))
        yield web.get("/limiter", self._measured(views.limiter))
        yield web.get("/traffic", self._measured(views.traffic))
        yield web.get("/families", self._families)
        yield web.get("/workers", self._workers)
        yield web.get("/certificates", self._certificates)

    def _configured(self, view: Callable[[Insight], views.Data]) -> Any:
        async def get(_request: web.Request) -> web.Response:
            return answer(view(self._open()))

        return get

    def _measured(self, view: Callable[[Insight, Any], views.Data]) -> Any:
        async def get(_request: web.Request) -> web.Response:
            insight = self._open()
            return answer(view(insight, await self._runtime.merged_metrics()))

        return get

    async def _families(self, _request: web.Request) -> web.Response:
        """What /metrics says, for programs of ours: lists instead of text."""
        return answer({"items": await self._runtime.merged_metrics()})

    async def _workers(self, _request: web.Request) -> web.Response:
        return answer({"items": [views.worker(status) for status in await self._runtime.status()]})

    async def _certificates(self, _request: web.Request) -> web.Response:
        return answer(await asyncio.to_thread(views.certificates, self._open()))

    def _open(self) -> Insight:
        if self.insight is None:
            raise web.HTTPServiceUnavailable(text="The edge is starting")
        return self.insight


def answer(data: Any) -> web.Response:
    return web.Response(body=json.dumps({"success": True, "data": data}), content_type="application/json")
