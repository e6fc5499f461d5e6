"""The core service, wired: settings in, application out. No I/O before the application starts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from common import error_tracking, logs, postgres, valkey
from common.background import stop
from common.health import Check
from common.metrics import METRICS, snapshot
from common.postgres import DATABASE, Database
from common.runtime import Runtime
from common.service import create_service, runner
from common.settings import load
from common.valkey import VALKEY
from common.worker import Worker
from core_service import modules
from core_service.purge import AuthFeed, Purger
from core_service.settings import CoreSettings

log = structlog.get_logger()
_AUTH_TIMEOUT = aiohttp.ClientTimeout(total=5)


def check(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the supervisor needs to know. Raises SettingsError with every fault."""
    settings = load(CoreSettings, environ)
    return {
        "workers": settings.core_workers,
        "listen": [{"name": "http", "host": settings.core_host, "port": settings.core_port, "setting": "CORE_PORT"}],
        "log": settings.log_file("core"),
        "lame_duck_seconds": settings.lame_duck_seconds,
        "shutdown_seconds": settings.shutdown_seconds,
    }


async def build(worker: Worker) -> dict[str, web.BaseRunner]:
    """One worker's listeners."""
    settings = load(CoreSettings)
    logs.configure("core", settings.log_level, access=settings.access_log_format, file=settings.log_file("core"))
    app = create_app(settings, runtime=worker)
    observe(app, worker)
    return {"http": runner(app, shutdown_seconds=settings.shutdown_seconds)}


def observe(app: web.Application, worker: Worker) -> None:
    """Gives the worker its metrics to send."""
    worker.snapshot = lambda: snapshot(app[METRICS].registry)


def create_app(settings: CoreSettings, *, runtime: Runtime) -> web.Application:
    """The service with the modules that MODULES names."""
    app = create_service(
        "core",
        service_key=settings.core_service_key,
        runtime=runtime,
        checks={
            "database": Check(lambda: _check_database(app)),
            "redis": Check(lambda: _check_redis(app), is_critical=False),
        },
    )
    app[DATABASE] = Database(settings.pool_options(runtime.count))
    app.cleanup_ctx.append(error_tracking.context(settings, "core"))
    app.cleanup_ctx.append(postgres.context)
    app.cleanup_ctx.append(valkey.context(settings.redis_url))
    app.cleanup_ctx.append(_purging(settings))
    for module in modules.load(settings.modules):
        module.setup(app)
    return app


def _purging(settings: CoreSettings) -> Callable[[web.Application], AsyncIterator[None]]:
    """Modules that do not run forget deleted users too: they keep their tables."""
    purged = modules.load(modules.everything(settings.modules))

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=_AUTH_TIMEOUT) as session:
            feed = AuthFeed(session, settings.auth_base_url, settings.auth_service_key)
            purger = Purger(app[DATABASE], feed, purged)
            tasks = [asyncio.create_task(purger.run()), asyncio.create_task(purger.listen(app[VALKEY]))]
            yield
            for task in tasks:
                await stop(task)

    return run


async def _check_database(app: web.Application) -> None:
    await app[DATABASE].check()


async def _check_redis(app: web.Application) -> None:
    await app[VALKEY].ping()
