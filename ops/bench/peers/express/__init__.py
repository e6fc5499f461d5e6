"""Express with http-proxy-middleware and the middlewares that people put before it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running, running
from ops.bench.programs import BUILD, command, libraries, program

_HERE = Path(__file__).parent


@contextmanager
def _run(setting: Setting) -> Iterator[Running]:
    node, folder = program("node", "nodejs"), _installed()
    given = {
        "port": setting.port,
        "upstream": f"http://127.0.0.1:{setting.upstream_port}",
        "redis": setting.redis_url,
        "secret": setting.issuer.shared_secret,
        "log": str(setting.access_log),
        "workers": setting.workers,
        "limit": setting.limit,
        "window": setting.window_seconds,
    }
    environ = {**libraries(), "NODE_ENV": "production", "BENCH_SETTING": orjson.dumps(given).decode()}
    with running([node, folder / "server.js"], setting.port, setting.folder / "node.log", environ) as started:
        yield started


def _installed() -> Path:
    """The application with its packages, in build/bench."""
    folder = BUILD / "express"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "server.js"):
        shutil.copy(_HERE / name, folder)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        command(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], folder, "npm install")
    return folder


PEER = Peer(
    name="Express",
    does="http-proxy-middleware with a keep-alive agent; jsonwebtoken verifies the JWT (HS256) every time, "
    "express-rate-limit over rate-limit-redis (a fixed window), helmet, request id, morgan to a file",
    run=_run,
    algorithm="HS256",
    has_log=True,
)
