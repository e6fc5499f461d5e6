"""Health as seen from outside: the edge's own, and what auth and core say of themselves."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common import json
from common.health import Readiness, database_body, liveness, ready_body
from common.http1 import Pool, Timeouts, UpstreamError
from common.limits import Limiter
from common.runtime import Runtime

PATHS = frozenset({"/health", "/health/ready", "/health/db"})
_TIMEOUTS = Timeouts(connect=2, first_byte=3, idle=3)
_FRESH_SECONDS = 1.0
_SEVERITY = {"healthy": 0, "unhealthy": 1}


class EdgeHealth:
    """Asks each service, all servers of it, at most once a second, however often it is asked itself."""

    def __init__(
        self, services: Callable[[], Mapping[str, Sequence[Pool]]], limiter: Limiter, runtime: Runtime
    ) -> None:
        self._services = services
        self._limiter = limiter
        self._runtime = runtime
        self._last: Readiness | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a path in PATHS."""
        if path == "/health":
            return 200, liveness("edge")
        readiness = await self._readiness()
        if path == "/health/db":
            return database_body(readiness)
        if self._runtime.draining:
            readiness = Readiness("unavailable", {"edge": "shutting down", **readiness.checks})
        return readiness.http_status, ready_body(readiness)

    async def _readiness(self) -> Readiness:
        async with self._lock:
            if self._last is None or time.monotonic() >= self._until:
                self._last = await self._gather()
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._last

    async def _gather(self) -> Readiness:
        services = self._services()
        answers = await asyncio.gather(*map(_ask_any, services.values()))
        checks: dict[str, str] = {}
        for name, answer in zip(services, answers, strict=True):
            checks[name] = "unhealthy" if answer is None else "healthy"
            # A dependency that one service cannot reach is worth naming even when another can.
            for dependency, state in (answer or {}).get("checks", {}).items():
                checks[dependency] = max(checks.get(dependency, "healthy"), state, key=lambda s: _SEVERITY.get(s, 1))
        if self._limiter.degraded:
            checks["redis"] = "unhealthy"
        return Readiness(_status(checks), checks)


async def _ask_any(servers: Sequence[Pool]) -> dict[str, Any] | None:
    """What the first one says that is ready; else whatever one says; None when none answers."""
    asking = [asyncio.create_task(_ask(server)) for server in servers]
    found = None
    try:
        for answering in asyncio.as_completed(asking):
            answer = await answering
            found = found or answer
            if answer is not None and answer.get("success"):
                return answer
    finally:
        for task in asking:
            task.cancel()
    return found


async def _ask(server: Pool) -> dict[str, Any] | None:
    try:
        response = await server.request("GET", b"/health/ready", [], timeouts=_TIMEOUTS)
        body = json.loads(await response.read(64 * 1024))
    except (UpstreamError, json.JSONDecodeError):
        return None
    well_formed = isinstance(body, dict) and isinstance(body.get("checks"), dict)
    return body if well_formed and response.status in (200, 503) else None


def _status(checks: Mapping[str, str]) -> str:
    unhealthy = {name for name, state in checks.items() if state != "healthy"}
    # Limits fall back to memory without Redis; taking every edge out for it would be the outage.
    if unhealthy - {"redis"}:
        return "unavailable"
    return "degraded" if unhealthy else "ready"
