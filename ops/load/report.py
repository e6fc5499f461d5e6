"""The figures for people: what `make load` prints."""

import click
from rich.table import Table

from ops.cli.output import show_table
from ops.load.apachebench import COMMAND
from ops.load.figures import SERVICES, Figures
from ops.load.generator import MIX


def show(figures: Figures) -> None:
    click.echo()
    _show_ab(figures)
    _show_latency(figures)
    _show_usage(figures)


def _show_ab(figures: Figures) -> None:
    ab = figures.ab
    if ab is None:
        click.echo("ab was left out, it is not installed: apt-get install apache2-utils\n")
        return
    click.echo(
        f"{COMMAND} on /api/v1/expenses, one user: {ab.failed} failed, {ab.per_second:.0f} requests/s, "
        f"p50 {ab.p50_ms:.0f} ms, p95 {ab.p95_ms:.0f} ms, slowest {ab.max_ms:.0f} ms\n"
    )


def _show_latency(figures: Figures) -> None:
    answered, failed = figures.latency.count, sum(figures.failures.values())
    asked = f"{figures.per_second:g} requests/s for {figures.seconds:.0f} s over {figures.users} users"
    title = f"{asked}: {answered} answered, {failed} failed"
    table = Table(title=title, title_justify="left")
    for header in ("milliseconds", "requests", "p50", "p95", "p99", "slowest"):
        table.add_column(header, justify="left" if header == "milliseconds" else "right")
    rows = {"all": figures.latency}
    rows |= {f"{kind} ({MIX[kind]} %)": latency for kind, latency in figures.by_kind.items()}
    rows["the generator's own lag"] = figures.lag
    for name, latency in rows.items():
        times = (latency.p50, latency.p95, latency.p99, latency.max)
        table.add_row(name, str(latency.count), *(f"{time:.1f}" for time in times))
    show_table(table)


def _show_usage(figures: Figures) -> None:
    requests = max(1, figures.latency.count)
    table = Table(title="What they used meanwhile", title_justify="left")
    for header in ("process", "workers", "CPU s", "CPU µs/request", "memory MB (PSS)", "memory MB (RSS)"):
        table.add_column(header, justify="left" if header == "process" else "right")
    for name, use in figures.uses.items():
        memory = (f"{size / 1e6:.0f}" for size in (use.pss_bytes, use.rss_bytes))
        workers = str(figures.workers[name]) if name in SERVICES else "–"
        table.add_row(name, workers, f"{use.cpu_seconds:.1f}", f"{use.cpu_seconds * 1e6 / requests:.0f}", *memory)
    spent = figures.generator_cpu_seconds
    table.add_row("the generator", "–", f"{spent:.1f}", f"{spent * 1e6 / requests:.0f}", "–", "–")
    show_table(table)
