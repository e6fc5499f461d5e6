"""Structured logs: one JSON object a line with time, level, service, event and, within a request, its id.

Lines leave in batches a few milliseconds apart; errors leave at once.
"""

import asyncio
import atexit
import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from common import json
from common.errors import timestamp

FLUSH_SECONDS = 0.05
# A safety net behind the rule that secrets are never passed to a log call.
_SECRET_KEYS = frozenset(
    {"password", "token", "access_token", "refresh_token", "authorization", "cookie", "secret", "api_key", "dsn"}
)


class LineWriter:
    """Collects lines and writes them to a file descriptor in one call per batch."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] = []
        self._scheduled: asyncio.TimerHandle | None = None

    def write(self, line: bytes) -> None:
        """Appends one line (without its newline); it leaves within FLUSH_SECONDS."""
        self._lines.append(line)
        if self._scheduled is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._scheduled = loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        lines, self._lines = self._lines, []
        if lines:
            _write_all(self._fd, b"\n".join(lines) + b"\n")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        return  # nobody reads our logs any more; a request must not fail for it


STDOUT = LineWriter(1)
atexit.register(STDOUT.flush)


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in _SECRET_KEYS & event.keys():
        event[key] = "[redacted]"
    return event


def _line(service: str) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    def finish(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        level = "warning" if method == "warn" else "error" if method == "exception" else method
        return {"time": timestamp(), "level": level, "service": service, "event": event.pop("event", ""), **event}

    return finish


class _Renderer:
    """Last processor: writes the line itself, so that no logger object formats it twice."""

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> str:
        STDOUT.write(render(event))
        if method in ("error", "exception", "critical"):
            STDOUT.flush()
        raise structlog.DropEvent


def render(event: Mapping[str, Any]) -> bytes:
    """One line, without its newline. Never raises: what JSON cannot hold is written as text.

    Other objects become their repr, and a lone surrogate (aiohttp's reading of a byte that is no UTF-8) `\\udcff`.
    """
    try:
        return json.dumps(event)
    except TypeError:
        return json.dumps({_text(key): value if _is_json(value) else _text(value) for key, value in event.items()})


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - whatever a repr raises, the rest of the line is worth having
        text = f"<{type(value).__name__} without a repr>"
    return text.encode(errors="backslashreplace").decode()


class _ToStructlog(logging.Handler):
    """Libraries that use the standard logger end up in the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        method = record.levelname.lower()
        log = structlog.get_logger()
        exc_info = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(log, method if hasattr(log, method) else "info")(
            "library_message", logger=record.name, message=record.getMessage(), **exc_info
        )


def configure(service: str, level: str = "INFO") -> None:
    """Called once by a process, before it logs anything."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            _redact,
            _line(service),
            _Renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))
    logging.getLogger("aiohttp.access").disabled = True
