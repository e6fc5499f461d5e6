"""Error tracking: each unhandled exception, once, to a Sentry server. In production, where SENTRY_DSN is set.

An exception is unhandled when it reaches the log with its traceback: from a request, a background loop, or asyncio
itself. `report` is the processor of `common/logs.py` that passes it on; `trace` records a sampled request. Both do
nothing, and `sentry_sdk` is not imported, until `error_tracking` opens a client. What leaves is put together here, not
collected by the library: type and text of the exception, source lines, request id, route. No headers, bodies, client
addresses, users or variables. A thread of its own sends it; what does not fit into its queue is dropped and logged.
"""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from common.error_tracking.tracker import FLUSH_SECONDS, Tracked, Tracker, open_tracker

__all__ = ["FLUSH_SECONDS", "context", "dsn_fault", "error_tracking", "report", "trace"]

log = structlog.get_logger()

_REPORTED_METHODS = frozenset({"exception", "error", "critical"})


def dsn_fault(dsn: str, *, is_production: bool) -> str | None:
    """Why errors cannot be reported to `dsn`, or None. The DSN is not quoted: it is a credential."""
    try:
        parts = urlsplit(dsn)
        is_dsn = parts.scheme in ("http", "https") and parts.username and parts.hostname and (parts.port or True)
    except ValueError:
        return "must be as https://key@host/project, from the project's settings in Sentry"
    if not is_dsn or not parts.path.rpartition("/")[2].isdigit():
        return "must be as https://key@host/project, from the project's settings in Sentry"
    if is_production and importlib.util.find_spec("sentry_sdk") is None:
        return "needs the package sentry-sdk, which is not installed: pip install 'gatehouse[sentry]'"
    return None


_tracker: Tracker | None = None  # of the process, as its log is


def report(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The log's processor: passes exceptions on, changes nothing, never raises."""
    if _tracker is not None and method in _REPORTED_METHODS and (exc_info := _exception(event.get("exc_info"))):
        try:
            _tracker.report(exc_info, event=str(event.get("event", "")), request_id=event.get("request_id"))
        except Exception as error:  # noqa: BLE001 - a report must not take the log line with it
            event["error_tracking"] = f"not reported: {type(error).__name__}: {error}"
    return event


def trace(request_id: str, name: str, status: int, seconds: float) -> None:
    """`name` is method and route template. Costs nothing while nobody traces; never raises, the answer is made."""
    if _tracker is not None:
        try:
            _tracker.trace(request_id, name, status, seconds)
        except Exception:
            log.exception("request_not_traced", request_id=request_id)


def is_on() -> bool:
    return _tracker is not None


@asynccontextmanager
async def error_tracking(settings: Tracked, service: str) -> AsyncIterator[None]:
    """Reports and traces while the block runs; then sends what waits, for at most FLUSH_SECONDS."""
    global _tracker  # noqa: PLW0603 - one for the process, as its log is
    if not settings.sentry_dsn:
        yield
        return
    if not settings.is_production:
        reason = f"errors are reported where ENV=production, and here it is {settings.env}"
        log.info("error_tracking_off", setting="SENTRY_DSN", reason=reason)
        yield
        return
    tracker = _tracker = open_tracker(settings, service)
    try:
        yield
    finally:
        if _tracker is tracker:
            _tracker = None
        await asyncio.to_thread(tracker.close)


def context(settings: Tracked, service: str) -> Callable[[web.Application], AsyncIterator[None]]:
    """`error_tracking` for `app.cleanup_ctx`; before the others, so that it ends after them."""

    async def run(_app: web.Application) -> AsyncIterator[None]:
        async with error_tracking(settings, service):
            yield

    return run


def _exception(given: Any) -> ExcInfo | None:
    """What `exc_info` of a log call may be, as (type, value, traceback)."""
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple):
        return given if given[0] is not None else None
    current = sys.exc_info() if given else (None, None, None)
    return current if current[0] is not None else None
