"""The core service, wired: settings in, application out. No I/O before the application starts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from common import logs, valkey
from common.health import Check
from common.metrics import METRICS, snapshot
from common.postgres import DATABASE, Database, PoolOptions
from common.runtime import Runtime
from common.service import create_service
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
        "lame_duck_seconds": settings.lame_duck_seconds,
        "shutdown_seconds": settings.shutdown_seconds,
    }


async def build(worker: Worker) -> dict[str, web.BaseRunner]:
    """One worker's listeners."""
    settings = load(CoreSettings)
    logs.configure("core", settings.log_level)
    app = create_app(settings, runtime=worker)
    observe(app, worker)
    return {"http": web.AppRunner(app, access_log=None, shutdown_timeout=settings.shutdown_seconds)}


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
    app.cleanup_ctx.append(_database(pool_options(settings, runtime.count)))
    app.cleanup_ctx.append(valkey.context(settings.redis_url))
    app.cleanup_ctx.append(_purging(settings))
    for module in modules.load(settings.modules):
        module.setup(app)
    return app


def pool_options(settings: CoreSettings, workers: int) -> PoolOptions:
    """This worker's share of the connections: all workers together stay within DATABASE_POOL_MAX."""
    size_max = max(1, settings.database_pool_max // workers)
    return PoolOptions(
        dsn=settings.database_url,
        size_min=min(settings.database_pool_min // workers, size_max),
        size_max=size_max,
        wait_seconds=settings.database_timeout,
        prepared_statements=settings.database_pooler != "transaction",
    )


def _database(options: PoolOptions) -> Callable[[web.Application], AsyncIterator[None]]:
    async def open_and_close(app: web.Application) -> AsyncIterator[None]:
        app[DATABASE] = Database(options)
        await app[DATABASE].open()
        try:
            await app[DATABASE].warm()
        except Exception as error:  # noqa: BLE001 - the service starts without its database and says so when asked
            log.warning("database_not_warmed", reason=f"{type(error).__name__}: {error}")
        yield
        await app[DATABASE].close()

    return open_and_close


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


async def stop(task: asyncio.Task[None]) -> None:
    """Cancels until it helps: redis-py loses a cancellation that arrives while it subscribes."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


async def _check_database(app: web.Application) -> None:
    await app[DATABASE].check()


async def _check_redis(app: web.Application) -> None:
    await app[VALKEY].ping()
