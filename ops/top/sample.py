"""Looks at the edge twice and says what happened between."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from common.metrics import Family
from edge.admin.figures import Durations, by_class, durations, samples, total
from ops.edge_admin import ask
from ops.stack.place import Place

_GROWING = frozenset({"counter", "histogram"})


class Look(NamedTuple):
    """Everything the edge tells at one moment; `at` by the monotonic clock."""

    at: float
    families: Sequence[Family]
    workers: Sequence[dict[str, Any]]
    upstreams: Sequence[dict[str, Any]]
    bans: int


def look(place: Place) -> Look:
    """Raises StackError when no edge answers."""
    families = ask(place, "GET", "/families")["items"]
    workers, upstreams = ask(place, "GET", "/workers")["items"], ask(place, "GET", "/upstreams")["items"]
    return Look(time.monotonic(), families, workers, upstreams, len(ask(place, "GET", "/bans")["items"]))


def between(before: Look, after: Look) -> dict[str, Any]:
    """What happened between the two: rates are per second, durations milliseconds (None: nothing happened)."""
    seconds = max(after.at - before.at, 1e-3)
    families = grown(before.families, after.families)
    durations_all = durations(families, "http_request_seconds").get((), Durations())
    return {
        "seconds": round(seconds, 2),
        **_figures(by_class(families, "http_requests_total").get((), {}), durations_all, seconds),
        "in_flight": int(total(families, "http_requests_in_flight")),
        "connections": int(total(families, "client_connections")),
        "loop_lag_p99_ms": durations(families, "loop_lag_seconds").get((), Durations()).as_dict()["p99_ms"],
        "shed_per_second": round(total(families, "shed_total") / seconds, 1),
        "bans": after.bans,
        "limits": _limits(families, seconds),
        "routes": _routes(families, seconds),
        "upstreams": _upstreams(families, after.upstreams, seconds),
        "workers": _workers(before, after, seconds),
    }


def grown(before: Iterable[Family], after: Iterable[Family]) -> list[Family]:
    """`after` with what was counted `before` taken off; gauges stay. What has gone back began anew: it counts whole."""
    earlier = {_key(name, labels): value for _, _, _, found in before for name, labels, value in found}

    def growth(name: str, labels: Any, value: float) -> float:
        known = earlier.get(_key(name, labels), 0.0)
        return value - known if value >= known else value

    return [
        [family, kind, text, [[name, labels, growth(name, labels, value)] for name, labels, value in found]]
        if kind in _GROWING
        else [family, kind, text, found]
        for family, kind, text, found in after
    ]


def _key(name: str, labels: Any) -> tuple[Any, ...]:
    return (name, *map(tuple, labels))


def _figures(classes: dict[str, int], waits: Durations, seconds: float) -> dict[str, Any]:
    shown = waits.as_dict()
    return {
        "requests_per_second": round(sum(classes.values()) / seconds, 1),
        "errors_4xx_per_second": round(classes.get("4xx", 0) / seconds, 1),
        "errors_5xx_per_second": round(classes.get("5xx", 0) / seconds, 1),
        "p50_ms": shown["p50_ms"],
        "p99_ms": shown["p99_ms"],
    }


def _busiest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["requests_per_second"], reverse=True)


def _routes(families: Sequence[Family], seconds: float) -> list[dict[str, Any]]:
    """Those that were asked for, the busiest first."""
    waits = durations(families, "http_request_seconds", "route", "method")
    return _busiest(
        {"route": route, "method": method, **_figures(classes, waits[route, method], seconds)}
        for (route, method), classes in by_class(families, "http_requests_total", "route", "method").items()
        if sum(classes.values())
    )


def _upstreams(families: Sequence[Family], known: Iterable[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    classes = by_class(families, "upstream_requests_total", "upstream")
    waits = durations(families, "upstream_seconds", "upstream")
    return _busiest(
        {
            "upstream": one["name"],
            **_figures(classes.get((one["name"],), {}), waits.get((one["name"],), Durations()), seconds),
            "servers": one["servers"],
        }
        for one in known
    )


def _limits(families: Sequence[Family], seconds: float) -> dict[str, Any]:
    rates: dict[str, dict[str, float]] = {}
    for labels, value in samples(families, "limit_decisions_total"):
        rates.setdefault(labels["limit"], {})[labels["outcome"]] = round(value / seconds, 1)
    return {"store_away": int(total(families, "limit_store_down")), "per_second": rates}


def _workers(before: Look, after: Look, seconds: float) -> list[dict[str, Any]]:
    """`cpu_percent` of one core; None for a worker that has just come."""
    earlier = {worker["pid"]: worker["cpu_seconds"] for worker in before.workers}

    def percent(worker: dict[str, Any]) -> float | None:
        used, known = worker["cpu_seconds"], earlier.get(worker["pid"])
        return None if used is None or known is None else round((used - known) / seconds * 100, 1)

    shown = ("worker", "pid", "state", "restarts", "memory_bytes")
    return [
        {**{name: worker[name] for name in shown}, "cpu_percent": percent(worker)}
        for worker in sorted(after.workers, key=lambda worker: (worker["worker"], worker["started_at"]))
    ]
