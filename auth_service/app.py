"""Wiring: which parts the service has and how they know of each other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from auth_service import accounts, housekeeping, keys, passwords, revocations, sessions, signing
from auth_service.accounts.service import ACCOUNTS, Accounts
from auth_service.attempts.guard import Guard
from auth_service.clock import Clock, utc_now
from auth_service.keys.pepper import Pepper
from auth_service.keys.service import KEYS, Keys
from auth_service.passwords import HASHER, Hasher
from auth_service.revocations.wakes import WAKES, Wakes
from auth_service.sessions.refresh_tokens import RefreshTokens
from auth_service.sessions.service import SESSIONS, Sessions
from auth_service.settings import AuthSettings
from auth_service.signing.keyring import KEYRING, Keyring
from auth_service.signing.tokens import TokenRules
from common import error_tracking, logs, metrics, postgres, valkey
from common.background import stop
from common.health import Check
from common.metrics import METRICS
from common.postgres import DATABASE, Database
from common.runtime import Runtime
from common.service import create_service, runner
from common.settings import load
from common.valkey import VALKEY
from common.worker import Worker


def create_app(
    settings: AuthSettings, *, runtime: Runtime, clock: Clock = utc_now, hasher: Hasher | None = None
) -> web.Application:
    """The service; nothing is connected before it starts. `hasher` replaces the standard one and is closed with it."""
    database = Database(settings.pool_options(runtime.count))

    async def check_valkey() -> None:
        await app[VALKEY].ping()

    app = create_service(
        "auth",
        service_key=settings.auth_service_key,
        runtime=runtime,
        checks={"database": Check(database.check), "redis": Check(check_valkey, is_critical=False)},
    )
    app[DATABASE] = database
    app[HASHER] = hasher or Hasher(passwords.standard(), threads=passwords.threads_per_worker(settings.auth_workers))
    app[KEYRING] = Keyring(database, settings.secret_key)
    app[WAKES] = Wakes()
    _wire(app, settings, clock)
    for package in (accounts, sessions, keys, signing, revocations):
        package.setup(app)
    app.cleanup_ctx.append(error_tracking.context(settings, "auth"))
    app.cleanup_ctx.extend([postgres.context, _hasher, valkey.context(settings.redis_url), _background(clock)])
    return app


def _wire(app: web.Application, settings: AuthSettings, clock: Clock) -> None:
    database, hasher, wakes = app[DATABASE], app[HASHER], app[WAKES]
    guard = Guard(database, settings.secret_key)
    rules = TokenRules(
        settings.jwt_issuer, settings.jwt_audience, timedelta(minutes=settings.access_token_expire_minutes)
    )
    app[SESSIONS] = Sessions(
        database=database,
        hasher=hasher,
        guard=guard,
        keyring=app[KEYRING],
        wakes=wakes,
        refresh_tokens=RefreshTokens(settings.secret_key),
        token_rules=rules,
        idle=timedelta(days=settings.refresh_token_expire_days),
        clock=clock,
    )
    app[ACCOUNTS] = Accounts(
        database=database, hasher=hasher, guard=guard, sessions=app[SESSIONS], wakes=wakes, clock=clock
    )
    app[KEYS] = Keys(database=database, pepper=Pepper.of(settings.key_pepper), wakes=wakes, clock=clock)


async def _hasher(app: web.Application) -> AsyncIterator[None]:
    yield
    app[HASHER].close()


def _background(clock: Clock) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(app: web.Application) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(app[KEYRING].run()),
            asyncio.create_task(app[WAKES].run(app[VALKEY])),
            asyncio.create_task(housekeeping.run(app[DATABASE], clock)),
        ]
        yield
        await asyncio.gather(*(stop(task) for task in tasks))

    return run


def check(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the supervisor asks before it starts anything. Raises SettingsError naming every fault."""
    settings = load(AuthSettings, environ)
    return {
        "workers": settings.auth_workers,
        "listen": [{"name": "http", "host": settings.auth_host, "port": settings.auth_port, "setting": "AUTH_PORT"}],
        "log": settings.log_file("auth"),
        "lame_duck_seconds": settings.lame_duck_seconds,
        "shutdown_seconds": settings.shutdown_seconds,
    }


async def build(worker: Worker) -> Mapping[str, web.BaseRunner]:
    """One worker's listeners."""
    settings = load(AuthSettings)
    logs.configure("auth", settings.log_level, access=settings.access_log_format, file=settings.log_file("auth"))
    app = create_app(settings, runtime=worker)
    worker.snapshot = lambda: metrics.snapshot(app[METRICS].registry)
    return {"http": runner(app, shutdown_seconds=settings.shutdown_seconds)}
