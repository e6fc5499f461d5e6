"""What each admin path shows. Configuration is this worker's, which is every worker's; numbers are of all workers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.metrics import Family
from edge.admin.figures import by_class, durations, samples, total
from edge.admin.insight import Insight
from edge.entries import RouteEntry
from edge.tls.status import describe
from edge.upstream.server import ServerState

Data = dict[str, Any]
_PAGE_BYTES, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def routes(insight: Insight) -> Data:
    """The table in force; `refused` names the faults of the one on the disk, when that is another."""
    entries = sorted(insight.table.routes, key=lambda route: (route.path, route.hosts))
    return {"items": [_route(entry) for entry in entries], "refused": insight.refused}


def _route(entry: RouteEntry) -> Data:
    """What was said, and of the rest only what always matters."""
    always = ("path", "upstream", "auth", "limits", "hosts", "methods", "permission")
    shown = entry.model_dump(mode="json", exclude={"enabled"})
    return {name: value for name, value in shown.items() if name in always or name in entry.model_fields_set}


def upstreams(insight: Insight, families: Sequence[Family]) -> Data:
    classes = by_class(families, "upstream_requests_total", "upstream")
    waits = durations(families, "upstream_seconds", "upstream")
    return {
        "items": [
            {
                "name": name,
                "servers": [_server(families, name, server) for server in insight.upstreams[name].state()],
                "requests": classes.get((name,), {}),
                **(waits[name,].as_dict() if (name,) in waits else {}),
            }
            for name in insight.table.upstreams
        ]
    }


def _server(families: Sequence[Family], upstream: str, server: ServerState) -> Data:
    """Numbers are of all workers; `workers` says how many see it in which state."""
    named = {"upstream": upstream, "server": server.url}

    def count(name: str, **labels: str) -> int:
        return int(total(families, name, **named, **labels))

    states = [
        labels["state"] for labels, _ in samples(families, "upstream_server_state") if named.items() <= labels.items()
    ]
    return {
        "url": server.url,
        "weight": server.weight,
        "workers": {state: count("upstream_server_state", state=state) for state in states},
        "in_flight": count("upstream_connections", state="in_use"),
        "idle": count("upstream_connections", state="idle"),
        "failures": count("upstream_server_failures_total"),
        "retries": count("upstream_server_retries_total"),
        "ejections": count("upstream_server_ejections_total"),
    }


def limiter(insight: Insight, families: Sequence[Family]) -> Data:
    """Each class with its rule and what was decided; `store` is away when any worker's is."""
    decisions: dict[str, dict[str, int]] = {}
    for labels, value in samples(families, "limit_decisions_total"):
        decisions.setdefault(labels["limit"], {})[labels["outcome"]] = int(value)
    away = int(total(families, "limit_store_down"))
    return {
        "store": "none" if not insight.loaded.redis_url else "away" if away else "there",
        "workers_without_store": away,
        "classes": [
            {"name": rule.name, "limit": rule.limit, "window_seconds": rule.window_seconds}
            for rule in insight.loaded.limits.values()
        ],
        "shadow": list(insight.loaded.limit_shadow),
        "decisions": decisions,
    }


def traffic(_insight: Insight, families: Sequence[Family]) -> Data:
    """By route template and method, since the edge was started."""
    classes = by_class(families, "http_requests_total", "route", "method")
    waits = durations(families, "http_request_seconds", "route", "method")
    return {
        "in_flight": int(total(families, "http_requests_in_flight")),
        "connections": int(total(families, "client_connections")),
        "shed": int(total(families, "shed_total")),
        "banned": int(total(families, "banned_requests_total")),
        "loop_lag": durations(families, "loop_lag_seconds")[()].as_dict(),
        "items": [
            {"route": route, "method": method, "requests": counts, **waits[route, method].as_dict()}
            for (route, method), counts in sorted(classes.items())
        ],
    }


def middlewares(insight: Insight) -> Data:
    """What a request passes, in order, and what each was told."""
    loaded = insight.loaded
    policies: list[tuple[str, Data]] = [
        ("client_address", {"trusted_proxies": list(loaded.trusted_proxies)}),
        (
            "bans",
            {
                "failures": loaded.ban_failures,
                "within_seconds": loaded.ban_within_seconds,
                "seconds": loaded.ban_seconds,
            },
        ),
        ("shedding", {"requests_max": loaded.edge_requests_max, "lag_seconds_max": loaded.edge_lag_seconds_max}),
        ("hosts", {"served": _hosts(insight)}),
        ("cors", {"allowed_origins": list(loaded.allowed_origins)}),
        ("access_lists", {"routes": _count(insight, "allow", "deny")}),
        ("authentication", {"issuer": loaded.jwt_issuer, "audience": loaded.jwt_audience}),
        ("limits", {name: f"{rule.limit}/{rule.window_seconds:g}" for name, rule in loaded.limits.items()}),
        ("permissions", {"routes": _count(insight, "permission")}),
        ("cache", {"routes": _count(insight, "cache")}),
        ("compression", {"enabled": loaded.compression}),
        ("headers", {"routes": _count(insight, "headers")}),
        ("access_log", {"format": loaded.access_log_format}),
    ]
    return {"items": [{"name": name, "settings": settings} for name, settings in policies]}


def _hosts(insight: Insight) -> list[str]:
    named = {host.lower() for entry in insight.table.routes for host in entry.hosts}
    return sorted({*insight.loaded.hosts, *named}) if insight.loaded.hosts else ["*"]


def _count(insight: Insight, *fields: str) -> int:
    """How many routes name one of these."""
    return sum(bool(entry.model_fields_set.intersection(fields)) for entry in insight.table.routes)


def certificates(insight: Insight) -> Data:
    """Each certificate, or host without one. Blocks for as long as the disk does."""
    if not insight.loaded.ends_tls:
        return {"items": [], "ends_tls": False}
    found = describe(insight.loaded, _hosts(insight))
    return {"items": [status.as_json() for status in found], "ends_tls": True}


def worker(status: Data) -> Data:
    """A line of the supervisor's, with what the system knows: resident bytes, and processor seconds so far."""
    try:
        fields = Path(f"/proc/{status['pid']}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended, or this is no Linux
        return {**status, "memory_bytes": None, "cpu_seconds": None}
    return {
        **status,
        "memory_bytes": int(fields[21]) * _PAGE_BYTES,
        "cpu_seconds": round((int(fields[11]) + int(fields[12])) / _TICKS, 2),
    }
