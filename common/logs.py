"""Structured logs: one JSON object a line with time, level, service, event and, within a request, its id.

Lines leave in batches a few milliseconds apart; errors leave at once. They go to standard output, or with LOG_TO=files
to a log file (see `log_file.py`). Access lines take the form that ACCESS_LOG_FORMAT names (see `access_log.py`).
"""

import asyncio
import atexit
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web
from structlog.typing import EventDict, WrappedLogger

from common import access_log, error_tracking, json
from common.access_log import AccessLogFormat
from common.errors import timestamp
from common.log_file import LogFile, write_all

FLUSH_SECONDS = 0.05
# How soon a process that logs nothing leaves a renamed file, for what it may yet say on standard error.
_FOLLOW_SECONDS = 30.0
# A safety net behind the rule that secrets are never passed to a log call.
_SECRET_KEYS = frozenset(
    {"password", "token", "access_token", "refresh_token", "authorization", "cookie", "secret", "api_key", "dsn"}
)


class LineWriter:
    """Collects lines and writes them to a file descriptor, or the process's log file, in one call per batch."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._file: LogFile | None = None
        self._lines: list[bytes] = []
        self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # the loop's
        self._scheduled: asyncio.TimerHandle | None = None

    def write(self, line: bytes) -> None:
        """Appends one line (without its newline); it leaves within FLUSH_SECONDS."""
        if self._left_to_the_loop(self.write, line):
            return
        self._lines.append(line)
        if self._scheduled is not None:
            return
        try:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
        except RuntimeError:
            self.flush()
        else:
            self._scheduled = self._loop.call_later(FLUSH_SECONDS, self.flush)

    def _left_to_the_loop(self, call: Callable[..., None], *arguments: bytes) -> bool:
        """A thread beside the loop's must not touch the batch: the loop does it for that thread."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread or not loop.is_running():
            return False
        loop.call_soon_threadsafe(call, *arguments)
        return True

    def flush(self) -> None:
        if self._left_to_the_loop(self.flush):
            return
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        lines, self._lines = self._lines, []
        if lines:
            data = b"\n".join(lines) + b"\n"
            lost = self._file.write(data) if self._file is not None else write_all(self._fd, data)
            self._count_lost(data, lost)

    def _count_lost(self, data: bytes, lost: int) -> None:
        """What a full disk did not take is told once it takes lines again."""
        if lost:
            self._lost += data.count(b"\n", len(data) - lost)
        elif self._lost:
            count, self._lost = self._lost, 0
            structlog.get_logger().warning("log_lines_lost", lines=count)

    def lead_to(self, file: LogFile) -> None:
        """Standard output and error become `file`, whatever it is renamed to. Raises OSError."""
        file.take()
        self._file = file
        self._follow()

    def _follow(self) -> None:
        if self._file is not None:
            self._file.follow()
            with suppress(RuntimeError):  # no loop runs: then every line is written, and looked after, by itself
                asyncio.get_running_loop().call_later(_FOLLOW_SECONDS, self._follow)


STDOUT = LineWriter(1)
atexit.register(STDOUT.flush)


class AccessLines:
    """Access lines in one form."""

    def __init__(self, form: AccessLogFormat = "json") -> None:
        self.form = form

    def details(self, request: web.BaseRequest, *, address: str | None = None) -> dict[str, Any]:
        """What this form says besides the fields of JSON lines: add it to them."""
        if self.form == "json":
            return {}
        given = {} if address is None else {"address": address}
        return {**given, **access_log.details(request.headers, request.version)}

    def line(self, fields: Mapping[str, Any]) -> bytes:
        """One line, without its newline."""
        if self.form == "combined":
            return access_log.combined(fields)
        return access_log.dev(fields) if self.form == "dev" else render(fields)


ACCESS = AccessLines()


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
        is_access = event["event"] == "request" and "status" in event
        STDOUT.write(ACCESS.line(event) if is_access else render(event))
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


def configure(service: str, level: str = "INFO", *, access: AccessLogFormat = "json", file: str = "") -> None:
    """Called once by a process, before it logs anything. `file` is a log file's path; standard output without.

    Raises OSError when the file cannot be opened.
    """
    ACCESS.form = access
    if file:
        STDOUT.lead_to(LogFile(file))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            error_tracking.report,
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
