"""One page of figures for a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ops.cli.output import megabytes

# What stands around the routes: the head, four titles with their blank lines, and the last line.
_OTHER_LINES = 15


def page(figures: dict[str, Any], height: int | None = None) -> Group:
    """`height` is that of the terminal: as many of the busiest routes are shown as fit; all when None."""
    upstreams, workers = figures["upstreams"], figures["workers"]
    taken = _OTHER_LINES + len(workers) + sum(len(one["servers"]) + (len(one["servers"]) > 1) for one in upstreams)
    rows = len(figures["routes"]) if height is None else max(3, height - taken)
    return Group(
        _head(figures),
        Text(),
        _routes(figures["routes"], rows),
        Text(),
        _upstreams(upstreams),
        Text(),
        _limits(figures["limits"]),
        Text(),
        _workers(workers),
    )


def _head(figures: dict[str, Any]) -> Text:
    text = Text(f"{figures['requests_per_second']:g} requests/s", style="bold")
    text.append(f"   p50 {_ms(figures['p50_ms'])}  p99 {_ms(figures['p99_ms'])}", style="default not bold")
    for label, style in (("4xx", "yellow"), ("5xx", "red")):
        rate = figures[f"errors_{label}_per_second"]
        text.append(f"  {label} {rate:g}/s", style=f"{style if rate else 'default'} not bold")
    quiet = [
        f"in flight {figures['in_flight']}",
        f"connections {figures['connections']}",
        f"loop lag p99 {_ms(figures['loop_lag_p99_ms'])}",
        f"shed {figures['shed_per_second']:g}/s",
        f"banned addresses {figures['bans']}",
    ]
    return text.append("\n" + "   ".join(quiet), style="default not bold")


def _routes(routes: Sequence[dict[str, Any]], rows: int) -> Table:
    table = _table("route", "method", "req/s", "p50", "p99", "4xx/s", "5xx/s", texts=2)
    for route in routes[:rows]:
        table.add_row(route["route"], route["method"], *_rates(route))
    if not routes:
        table.add_row(Text("nothing was asked for", style="dim"))
    elif len(routes) > rows:
        table.add_row(Text(f"and {len(routes) - rows} more", style="dim"))
    return table


def _upstreams(upstreams: Iterable[dict[str, Any]]) -> Table:
    table = _table("upstream", "server", "req/s", "p50", "p99", "4xx/s", "5xx/s", "in use", "idle", "state", texts=2)
    for one in upstreams:
        name, rates = one["upstream"], _rates(one)
        if len(one["servers"]) > 1:  # the figures are all servers' together, so they stand beside none of them
            table.add_row(name, "all", *rates)
            name, rates = "", [""] * len(rates)
        for server in one["servers"]:
            table.add_row(name, server["url"], *rates, str(server["in_flight"]), str(server["idle"]), _state(server))
            name, rates = "", [""] * len(rates)
    return table


def _state(server: dict[str, Any]) -> Text:
    """With the number of workers where they do not see it alike."""
    states = server["workers"]
    shown = ", ".join(state if len(states) == 1 else f"{state} ({count})" for state, count in states.items())
    return Text(shown, style="" if set(states) <= {"healthy"} else "yellow")


def _limits(limits: dict[str, Any]) -> Table:
    table = _table("limit", "allowed/s", "denied/s", "denied here/s", "without store/s")
    for name, rates in sorted(limits["per_second"].items()):
        shown = [rates.get(kind, 0.0) for kind in ("allowed", "denied", "denied_locally", "fallback")]
        table.add_row(name, *(f"{rate:g}" for rate in shown))
    if limits["store_away"]:
        table.add_row(Text(f"the store is away for {limits['store_away']} workers", style="red"))
    return table


def _workers(workers: Iterable[dict[str, Any]]) -> Table:
    table = _table("worker", "state", "pid", "restarts", "cpu", "memory", texts=2)
    for one in workers:
        cpu = "-" if one["cpu_percent"] is None else f"{one['cpu_percent']:.0f} %"
        memory = "-" if one["memory_bytes"] is None else megabytes(one["memory_bytes"])
        table.add_row(str(one["worker"]), one["state"], str(one["pid"]), str(one["restarts"]), cpu, memory)
    return table


def _rates(row: dict[str, Any]) -> list[Text | str]:
    errors = [(row["errors_4xx_per_second"], "yellow"), (row["errors_5xx_per_second"], "red")]
    shown = [Text(f"{rate:g}", style=style if rate else "") for rate, style in errors]
    return [f"{row['requests_per_second']:g}", _ms(row["p50_ms"]), _ms(row["p99_ms"]), *shown]


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _table(*headers: str, texts: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, header in enumerate(headers):
        table.add_column(header, justify="left" if number < texts else "right", no_wrap=True, overflow="ellipsis")
    return table
