"""Prometheus metrics of one process, and their rendering after the supervisor has merged all workers."""

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

# One family: [name, type, help, [[sample name, [[label, value], ...], number], ...]].
Family = Sequence[Any]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # le: up to


class HttpMetrics(Collector):
    """Request count and duration by route template, method and status. One registry per process.

    Kept in plain numbers, because every request passes here: the library's own counters lock for threads we have not.
    `in_flight` is the number of requests being answered; whoever answers them keeps it.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = 0
        self._service = service
        self._series: dict[tuple[str, str, int], Series] = {}
        self.registry.register(self)

    def record(self, route: str, method: str, status: int, seconds: float) -> None:
        series = self._series.get((route, method, status))
        if series is None:
            series = self._series[route, method, status] = Series()
        series.add(seconds)

    def collect(self) -> Iterator[Metric]:
        labels = ("service", "route", "method", "status")
        requests = CounterMetricFamily("http_requests", "Requests answered.", labels=labels)
        durations = HistogramMetricFamily("http_request_seconds", "Seconds until answered.", labels=labels)
        for (route, method, status), series in self._series.items():
            values = (self._service, route, method, str(status))
            requests.add_metric(values, float(series.count))
            durations.add_metric(values, series.buckets(), series.seconds)
        yield requests
        yield durations
        in_flight = GaugeMetricFamily("http_requests_in_flight", "Requests being answered.", labels=("service",))
        in_flight.add_metric((self._service,), self.in_flight)
        yield in_flight


class Series:
    """Durations, as of one route, method and status: their sum, and how many fell into each bucket."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.counts = [0] * (len(_SECONDS) + 1)

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.counts[bisect_left(_SECONDS, seconds)] += 1

    @property
    def count(self) -> int:
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each bound with the number of durations up to it."""
        bounds = [*map(str, _SECONDS), "+Inf"]
        return list(zip(bounds, itertools.accumulate(map(float, self.counts)), strict=True))


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """All families as plain lists, ready for JSON."""
    return [
        [
            family.name,
            family.type,
            family.documentation,
            [
                [sample.name, [[k, v] for k, v in sample.labels.items()], sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        ]
        for family in registry.collect()
    ]


def render(families: Iterable[Family]) -> str:
    """The Prometheus text format, version 0.0.4."""
    lines: list[str] = []
    for name, kind, documentation, samples in families:
        # Version 0.0.4 names a counter with its suffix; the registry's families come without.
        title = f"{name}_total" if kind == "counter" else name
        lines += [f"# HELP {title} {documentation}", f"# TYPE {title} {kind}"]
        lines += [_sample(*sample) for sample in samples]
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Sequence[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


METRICS: web.AppKey[HttpMetrics] = web.AppKey("metrics", HttpMetrics)
