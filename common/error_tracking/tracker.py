"""One process's client of a Sentry project: what it sends is put together here, not collected by the library."""

import hashlib
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from structlog.typing import ExcInfo

from common.error_tracking.scrub import scrub

if TYPE_CHECKING:
    from sentry_sdk import Client
    from sentry_sdk.types import Event

log = structlog.get_logger()

FLUSH_SECONDS = 2.0
# A loop that fails at every turn says the same each time; a request's failure is always told.
_REPEAT_SECONDS = 60.0
_SPOTS_MAX = 1000
# A report costs milliseconds of the loop: when everything breaks, the first ones say it all.
REPORTS_PER_MINUTE_MAX = 100
_SERVER_ERRORS = {503: "unavailable", 504: "deadline_exceeded"}
_CLIENT_ERRORS = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "already_exists",
    429: "resource_exhausted",
    499: "cancelled",
}


class Tracked(Protocol):
    """The settings that error tracking reads."""

    @property
    def env(self) -> str: ...
    @property
    def is_production(self) -> bool: ...
    @property
    def sentry_dsn(self) -> str: ...
    @property
    def sentry_traces_sample_rate(self) -> float: ...


class Tracker:
    """A client of one Sentry project for one process."""

    def __init__(self, client: "Client", service: str, *, dsn: str, traces_sample_rate: float) -> None:
        self._client = client
        self._service = service
        self._salt = hashlib.blake2b(dsn.encode(), digest_size=16).digest()
        self._sampled_below = int(traces_sample_rate * 2**32)
        self._told: dict[object, float] = {}
        self._minute, self._reports = 0, 0

    def report(self, exc_info: ExcInfo, *, event: str, request_id: str | None) -> None:
        """One event. Within a minute no second one from the same spot of a background loop, and so many in all."""
        if (request_id is None and self._was_told(exc_info)) or not self._has_room():
            return
        from sentry_sdk.utils import event_from_exception  # noqa: PLC0415 - see the head of this file

        mechanism = {"type": "gatehouse", "handled": False}
        found, hint = event_from_exception(exc_info, client_options=self._client.options, mechanism=mechanism)
        tags = {"service": self._service, "log_event": event}
        found["tags"] = tags if request_id is None else tags | {"request_id": request_id}
        self._client.capture_event(found, hint=hint)

    def trace(self, request_id: str, name: str, status: int, seconds: float) -> None:
        """A finished request, if its id is among those sampled; the same ones in every service, as one trace."""
        digest = hashlib.blake2b(request_id.encode(), digest_size=28, salt=self._salt).digest()
        if int.from_bytes(digest[:4]) >= self._sampled_below:
            return
        trace_id, edge_span, own_span = digest[4:20].hex(), digest[20:28].hex(), hashlib.sha256(digest).hexdigest()[:16]
        is_edge = self._service == "edge"
        context: dict[str, Any] = {
            "trace_id": trace_id,
            "span_id": edge_span if is_edge else own_span,
            "op": "http.server",
            "status": _trace_status(status),
            "data": {"http.response.status_code": status},
        }
        if not is_edge:
            context["parent_span_id"] = edge_span
        now = datetime.now(UTC)
        transaction: Event = {
            "type": "transaction",
            "transaction": name,
            "transaction_info": {"source": "route"},
            "start_timestamp": now - timedelta(seconds=seconds),
            "timestamp": now,
            "contexts": {"trace": context},
            "tags": {"service": self._service, "request_id": request_id},
            "spans": [],
        }
        self._client.capture_event(transaction)

    def close(self) -> None:
        """Sends what waits; blocks up to FLUSH_SECONDS."""
        self._client.close(timeout=FLUSH_SECONDS)

    def _has_room(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._reports = minute, 0
        self._reports += 1
        if self._reports == REPORTS_PER_MINUTE_MAX + 1:
            log.warning(
                "error_reports_paused", reason=f"{REPORTS_PER_MINUTE_MAX} within a minute; the log has the rest"
            )
        return self._reports <= REPORTS_PER_MINUTE_MAX

    def _was_told(self, exc_info: ExcInfo) -> bool:
        kind, _, trace = exc_info
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        spot = (kind, trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        now = time.monotonic()
        if now - self._told.get(spot, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return True
        if len(self._told) >= _SPOTS_MAX:
            self._told.clear()
        self._told[spot] = now
        return False


def open_tracker(settings: Tracked, service: str) -> Tracker:
    from sentry_sdk import Client  # noqa: PLC0415 - a tenth of a second that only those who use it pay
    from sentry_sdk.transport import HttpTransport  # noqa: PLC0415

    from common.runtime import VERSION  # noqa: PLC0415

    class Transport(HttpTransport):
        """Says that Sentry does not take what is sent, once a minute."""

        _said_at = float("-inf")

        def on_dropped_event(self, reason: str) -> None:
            if time.monotonic() - self._said_at >= _REPEAT_SECONDS:
                self._said_at = time.monotonic()
                log.warning("error_report_lost", reason=reason)

    client = Client(
        settings.sentry_dsn,
        transport=Transport,
        release=f"gatehouse@{VERSION}",
        environment=settings.env,
        server_name=socket.gethostname(),
        before_send=scrub,
        # Nothing is collected behind our back: no bodies, headers, SQL, variables, command lines or sessions.
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        send_client_reports=False,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        spotlight=False,
        shutdown_timeout=FLUSH_SECONDS,
    )
    return Tracker(client, service, dsn=settings.sentry_dsn, traces_sample_rate=settings.sentry_traces_sample_rate)


def _trace_status(status: int) -> str:
    if status < 400:
        return "ok"
    if status < 500:
        return _CLIENT_ERRORS.get(status, "failed_precondition")
    return _SERVER_ERRORS.get(status, "internal_error")
