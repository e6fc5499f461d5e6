"""Prometheus metrics of one process, and their rendering after the supervisor has merged all workers."""

from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# One family: [name, type, help, [[sample name, [[label, value], ...], number], ...]].
Family = Sequence[Any]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class HttpMetrics:
    """Request count and duration by route template, method and status. One registry per process."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        labels = ("service", "route", "method", "status")
        self._requests = Counter("http_requests_total", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "http_request_seconds", "Seconds until answered.", labels, registry=self.registry, buckets=_SECONDS
        )
        self._in_flight = Gauge(
            "http_requests_in_flight", "Requests being answered.", ("service",), registry=self.registry
        )
        self._service = service
        self.in_flight = self._in_flight.labels(service)
        # `labels()` builds and hashes a tuple of strings each time; the routes are few.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def record(self, route: str, method: str, status: int, seconds: float) -> None:
        key = (route, method, status)
        children = self._children.get(key)
        if children is None:
            values = (self._service, route, method, str(status))
            children = self._children[key] = (self._requests.labels(*values), self._seconds.labels(*values))
        children[0].inc()
        children[1].observe(seconds)


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
