"""aiohttp's server with its ClientSession, on uvloop; what it is to do it is told by BENCH_SETTING."""

import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import jwt
import orjson
from aiohttp import ClientSession, TCPConnector, web
from redis.asyncio import Redis

from common.limits.store import SCRIPT_SHA
from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running, running

SESSION = web.AppKey("session", ClientSession)
REDIS = web.AppKey("redis", Redis)
GIVEN = web.AppKey("given", dict)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger("access")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    started, request_id = time.perf_counter(), request.headers.get("X-Request-ID") or uuid4().hex
    request["id"] = request_id
    response = await handler(request)
    response.headers["X-Request-ID"] = request_id
    line = {"request_id": request_id, "method": request.method, "path": request.path, "status": response.status}
    log.info(json.dumps({**line, "seconds": time.perf_counter() - started}))
    return response


async def forward(request: web.Request) -> web.Response:
    given = request.app[GIVEN]
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, given["secret"], ["HS256"], issuer="gatehouse", audience="gatehouse-api")
    except jwt.InvalidTokenError:
        return web.json_response({"error": "Unauthorized"}, status=401)
    rule = (given["limit"], given["window"] * 1_000_000, 1)
    answer = await request.app[REDIS].evalsha(SCRIPT_SHA, 1, f"aiohttp:{{user:{claims['sub']}}}", *rule)
    if not answer[0]:
        return web.json_response({"error": "TooManyRequests"}, status=429)
    headers = {"X-User": claims["sub"], "X-Request-ID": request["id"]}
    body = await request.read() or None
    async with request.app[SESSION].request(request.method, request.path, headers=headers, data=body) as answered:
        return web.Response(body=await answered.read(), status=answered.status, content_type=answered.content_type)


async def resources(app: web.Application) -> AsyncIterator[None]:
    given = app[GIVEN]
    async with ClientSession(given["upstream"], connector=TCPConnector(limit=0)) as session:
        app[SESSION], app[REDIS] = session, Redis.from_url(given["redis"])
        yield
        await app[REDIS].aclose()


def create_app() -> web.Application:
    app = web.Application(middlewares=[identify])
    app[GIVEN] = json.loads(os.environ["BENCH_SETTING"])
    app.cleanup_ctx.append(resources)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


@contextmanager
def _run(setting: Setting) -> Iterator[Running]:
    given = {
        "upstream": f"http://127.0.0.1:{setting.upstream_port}",
        "redis": setting.redis_url,
        "secret": setting.issuer.shared_secret,
        "log": str(setting.access_log),
        "limit": setting.limit,
        "window": setting.window_seconds,
    }
    words = [sys.executable, "-m", __name__, str(setting.port), str(setting.workers)]
    environ = {"BENCH_SETTING": orjson.dumps(given).decode()}
    with running(words, setting.port, setting.folder / "aiohttp.log", environ) as started:
        yield started


PEER = Peer(
    name="aiohttp + ClientSession",
    does="uvloop; PyJWT verifies the JWT (HS256) every time, the edge's own limit script in Valkey by redis-py, "
    "request id, access log (JSON)",
    run=_run,
    algorithm="HS256",
    has_log=True,
)

if __name__ == "__main__":
    import uvloop

    app = create_app()
    log.addHandler(logging.FileHandler(app[GIVEN]["log"]))
    log.setLevel(logging.INFO)
    for _ in range(int(sys.argv[2]) - 1):
        if os.fork() == 0:
            break
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), reuse_port=True, print=None, access_log=None)
