"""CPU time of the edge's worker per request, in microseconds, on this machine as it is now.

Starts a stack of its own in a temporary directory, with one worker each and a route table of its own, and removes it.
Rounds are interleaved and medians are shown: machines are noisy, never compare two single runs.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.table import Table

from ops.bench.load import CONNECTIONS, load, tool
from ops.bench.setting import constant_upstream, stack
from ops.bench.upstream import BODY
from ops.cli.output import show_table
from ops.embedded import discard
from ops.stack.condition import condition
from ops.stack.place import Place

ROUNDS, SECONDS, WARM_SECONDS = 3, 4, 1


class Case(NamedTuple):
    title: str
    path: str
    with_key: bool


CASES = (
    Case("edge → constant answer, no policy", "/bare", False),
    Case("edge → constant answer, exact limit", "/limited", False),
    Case("edge → core, list of expenses with an API key, exact limit", "/api/v1/expenses", True),
)


class Figures(NamedTuple):
    per_second: float
    edge: float
    core: float


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder:
        Path(folder).chmod(0o711)  # as root, the servers run as somebody else
        place = Place(Path(folder) / "var")
        with constant_upstream() as port, stack(place, port):
            figures = _measure(place)
        discard(place.var)
    _show(figures)
    return 0


def _measure(place: Place) -> dict[Case, list[Figures]]:
    status = condition(place)
    assert status
    # The supervisor first, then its only worker.
    workers = {service["name"]: psutil.Process(service["pids"][1]) for service in status["services"]}
    key = json.loads(place.credentials.read_text())["api_key"]
    figures: dict[Case, list[Figures]] = {case: [] for case in CASES}
    for number in range(ROUNDS + 1):
        for case in CASES:
            headers = {"Authorization": f"Bearer {key}"} if case.with_key else {}
            before = {name: _cpu(worker) for name, worker in workers.items()}
            started = time.monotonic()
            count = load(status["url"] + case.path, headers, SECONDS if number else WARM_SECONDS)
            seconds = time.monotonic() - started
            used = {name: (_cpu(worker) - before[name]) * 1e6 / count for name, worker in workers.items()}
            if number:  # the first round warms up
                figures[case].append(Figures(count / seconds, used["edge"], used["core"]))
    return figures


def _show(figures: dict[Case, list[Figures]]) -> None:
    table = Table(title="CPU time per request", title_justify="left")
    for header in ("what", "edge µs", "core µs", "requests/s"):
        table.add_column(header, justify="left" if header == "what" else "right")
    for case, rounds in figures.items():
        edge, core = (statistics.median(getattr(figure, name) for figure in rounds) for name in ("edge", "core"))
        rate = statistics.median(figure.per_second for figure in rounds)
        table.add_row(case.title, f"{edge:.0f}", f"{core:.0f}" if case.with_key else "–", f"{rate:.0f}")
    show_table(table)
    print(
        f"Medians of {ROUNDS} interleaved rounds of {SECONDS} s, {CONNECTIONS} connections, load by {tool()}; user and "
        f"system time of one worker each; a constant answer of {len(BODY)} bytes.\nPython {sys.version.split()[0]}, "
        f"{os.cpu_count()} cores shared by load, edge, upstream and servers: requests/s is not the edge's ceiling."
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(main())
