"""`/health`, `/health/ready`, `/health/db` and `/metrics`: the same on every service."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from common import json
from common.errors import timestamp
from common.metrics import render
from common.runtime import RUNTIME, VERSION

log = structlog.get_logger()
_READY_SECONDS = 1.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STARTED = time.monotonic()


@dataclass(frozen=True, slots=True)
class Check:
    """One dependency. `probe` raises when it is away; without a critical one the service is not ready at all."""

    probe: Callable[[], Awaitable[None]]
    is_critical: bool = True


@dataclass(frozen=True, slots=True)
class Readiness:
    """`status` is ready, degraded or unavailable; `checks` names each dependency healthy or unhealthy."""

    status: str
    checks: dict[str, str]

    @property
    def http_status(self) -> int:
        return 503 if self.status == "unavailable" else 200


class Health:
    """Probes the dependencies, at most once a second however often it is asked."""

    def __init__(self, service: str, checks: Mapping[str, Check]) -> None:
        self.service = service
        self._checks = checks
        self._last: Readiness | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def readiness(self) -> Readiness:
        async with self._lock:
            if self._last is None or time.monotonic() >= self._until:
                self._last = await self._probe()
                self._until = time.monotonic() + _READY_SECONDS
            return self._last

    async def _probe(self) -> Readiness:
        healthy = await asyncio.gather(*(_is_healthy(name, check) for name, check in self._checks.items()))
        failed = [check for check, ok in zip(self._checks.values(), healthy, strict=True) if not ok]
        status = "unavailable" if any(c.is_critical for c in failed) else "degraded" if failed else "ready"
        states = ("healthy" if ok else "unhealthy" for ok in healthy)
        return Readiness(status, dict(zip(self._checks, states, strict=True)))


async def _is_healthy(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(2):
            await check.probe()
    except Exception as error:  # noqa: BLE001 - whatever it is, the dependency does not answer
        log.debug("health_check_failed", check=name, reason=f"{type(error).__name__}: {error}")
        return False
    return True


def liveness(service: str) -> dict[str, Any]:
    """The body of `/health`; memory in bytes, uptime in seconds."""
    return {
        "success": True,
        "status": "healthy",
        "service": service,
        "version": VERSION,
        "timestamp": timestamp(),
        "uptime": round(time.monotonic() - _STARTED, 3),
        "memory": memory(),
    }


def memory() -> dict[str, int]:
    """Resident set, data segment (mapped heap) and the part of the resident set that is no shared file."""
    try:
        _, resident, shared, _, _, data, _ = map(int, Path("/proc/self/statm").read_text().split())
    except OSError:  # not Linux
        import resource  # noqa: PLC0415

        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rss": rss, "heapTotal": rss, "heapUsed": rss}
    return {
        "rss": resident * _PAGE_BYTES,
        "heapTotal": data * _PAGE_BYTES,
        "heapUsed": (resident - shared) * _PAGE_BYTES,
    }


HEALTH: web.AppKey[Health] = web.AppKey("health", Health)


def ready_body(readiness: Readiness) -> dict[str, Any]:
    return {"success": readiness.http_status == 200, "status": readiness.status, "checks": readiness.checks}


def database_body(readiness: Readiness) -> tuple[int, dict[str, Any]]:
    """Status and body of `/health/db`; says nothing about where the database is."""
    if readiness.checks.get("database") == "healthy":
        return 200, {"success": True, "status": "healthy", "database": "connected"}
    return 503, {
        "success": False,
        "status": "unhealthy",
        "database": "disconnected",
        "error": "The database does not answer",
    }


def json_response(body: Mapping[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body), status=status, content_type="application/json")


async def get_health(request: web.Request) -> web.Response:
    return json_response(liveness(request.app[HEALTH].service))


async def get_ready(request: web.Request) -> web.Response:
    if request.app[RUNTIME].draining:
        return json_response(ready_body(Readiness("unavailable", {"service": "shutting down"})), status=503)
    readiness = await request.app[HEALTH].readiness()
    return json_response(ready_body(readiness), status=readiness.http_status)


async def get_database(request: web.Request) -> web.Response:
    status, body = database_body(await request.app[HEALTH].readiness())
    return json_response(body, status=status)


async def get_metrics(request: web.Request) -> web.Response:
    """Prometheus text over all workers; `Accept: application/json` gives the short form of guide 2."""
    if "application/json" in request.headers.get("Accept", ""):
        return json_response({"version": VERSION, "status": "healthy", "timestamp": timestamp()})
    text = render(await request.app[RUNTIME].merged_metrics())
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def add_health(app: web.Application, service: str, checks: Mapping[str, Check]) -> None:
    app[HEALTH] = Health(service, checks)
    app.router.add_get("/health", get_health)
    app.router.add_get("/health/ready", get_ready)
    app.router.add_get("/health/db", get_database)
    app.router.add_get("/metrics", get_metrics)
