"""What is kept of a request: one access line, metrics by route template, and the usage record of its caller."""

from collections.abc import Iterator
from typing import Any

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from common import error_tracking
from common.errors import timestamp
from common.limits import Limiter
from common.logs import AccessLines, LineWriter
from common.metrics import HttpMetrics
from edge.exchange import Exchange
from edge.policies.bans import Bans
from edge.upstream.metrics import UpstreamMetrics
from edge.usage import UsageLog

log = structlog.get_logger()
_LABELS_MAX = 1000


class Recorder:
    def __init__(
        self,
        metrics: HttpMetrics,
        upstreams: UpstreamMetrics,
        lines: LineWriter,
        access: AccessLines,
        usage: UsageLog | None = None,
    ) -> None:
        self._metrics = metrics
        self._upstreams = upstreams
        self._usage = usage
        self._lines = lines
        self._access = access
        self._labels: set[str] = set()

    def begin(self) -> None:
        self._metrics.in_flight += 1

    def record(self, exchange: Exchange) -> None:
        """Never raises: by now the answer has left."""
        try:
            self._record(exchange)
        except Exception:
            log.exception("request_not_recorded", request_id=exchange.request_id)

    def _record(self, exchange: Exchange) -> None:
        seconds = exchange.seconds()
        self._metrics.in_flight -= 1
        label = self._label(exchange)
        self._metrics.record(label, exchange.method, exchange.status, seconds)
        if exchange.sent and exchange.route is not None:
            waited = exchange.upstream_seconds or exchange.started + seconds - exchange.sent
            self._upstreams.record(exchange.route.upstream, exchange.status, waited)
        if error_tracking.is_on():
            error_tracking.trace(exchange.request_id, f"{exchange.method} {label}", exchange.status, seconds)
        if self._usage is not None:
            self._usage.add(exchange, label, seconds)
        self._lines.write(self._access.line(self._fields(exchange, seconds)))

    def _fields(self, exchange: Exchange, seconds: float) -> dict[str, Any]:
        """Their order is part of the form: the fail2ban filter reads it (ops/fail2ban/)."""
        decision = exchange.decision
        fields: dict[str, Any] = {
            "time": timestamp(),
            "level": "info",
            "service": "edge",
            "event": "request",
            "request_id": exchange.request_id,
            "address": exchange.client.address,
            "method": exchange.method,
            "host": exchange.host,
            "path": exchange.path,
            "route": exchange.label,
            "status": exchange.status,
            "bytes": exchange.bytes_sent,
            "seconds": int(seconds * 1e6) / 1e6,  # round() takes a microsecond itself
        }
        if decision is not None and not decision.allowed and exchange.status == 429:
            fields["limit"] = decision.rule
        if exchange.caller is not None:
            fields |= exchange.caller.named
        if self._access.form != "json":
            fields |= self._access.details(exchange.request)
        return fields

    def _label(self, exchange: Exchange) -> str:
        # A service that names a template for every path would make a series of each.
        label = exchange.label
        if label not in self._labels:
            if len(self._labels) >= _LABELS_MAX:
                return exchange.route.path if exchange.route else "unmatched"
            self._labels.add(label)
        return label


class LimiterCollector(Collector):
    """The limiter's own counts as metrics: what it decided, by class, and whether its store is away."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily("limit_decisions", "Calls judged, by class.", labels=("limit", "outcome"))
        for name, counts in self._limiter.counts.items():
            decisions.add_metric((name, "allowed"), counts.allowed)
            decisions.add_metric((name, "denied"), counts.denied)
            decisions.add_metric((name, "denied_locally"), counts.denied_locally)
            decisions.add_metric((name, "fallback"), counts.fallback)
        yield decisions
        degraded = float(self._limiter.degraded)
        yield GaugeMetricFamily("limit_store_down", "Workers whose limits are approximate.", value=degraded)


class BanCollector(Collector):
    """What this process banned and refused; how many are banned at all, the admin socket's /bans says."""

    def __init__(self, bans: Bans) -> None:
        self._bans = bans

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("bans", "Addresses banned.", value=self._bans.banned_count)
        yield CounterMetricFamily("banned_requests", "Requests of banned addresses.", value=self._bans.refused_count)
