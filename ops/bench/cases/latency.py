"""What the edge adds to a request's time at half of what it can carry, at a constant rate."""

import statistics
from collections.abc import Iterator, Sequence

from ops.bench.load import Request, load
from ops.bench.pacing import fire
from ops.bench.peers import edge, nginx
from ops.bench.report import Goal, Section
from ops.bench.setting import Bench, side_by_side

_COLUMNS = ("what", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms")
_DIRECT = "the upstream, asked directly"
_P50_MS_MOST, _P99_MS_MOST = 0.5, 3.0


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    with side_by_side(bench, (edge.PEER, nginx.LUA), skipped) as started:
        if edge.PEER.name not in started:
            return
        requests = {_DIRECT: Request(bench.upstream.url + "/bench")}
        requests |= {name: bench.request(peer, running) for name, (peer, running) in started.items()}
        rate = _half_of_what_it_carries(requests[edge.PEER.name])
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in requests}
        for number in range(bench.rounds + 1):
            for name, request in requests.items():
                latencies = fire(request, per_second=rate, seconds=bench.seconds)
                if number:  # the first round warms up
                    times[name].append((_share(latencies, 0.5), _share(latencies, 0.99)))
    yield _section(rate, times, skipped)


def _half_of_what_it_carries(request: Request) -> float:
    """Requests a second. The least of three short runs: a lucky one would make it more than half."""
    return min(one.requests / one.seconds for one in (load(request, 2) for _ in range(3))) / 2


def _section(rate: float, times: dict[str, list[tuple[float, float]]], skipped: dict[str, str]) -> Section:
    section = Section(f"Latency at half load: {rate:.0f} requests/s at a constant rate", _COLUMNS, skipped=skipped)
    medians = {name: tuple(map(statistics.median, zip(*rounds, strict=True))) for name, rounds in times.items()}
    for name, (p50, p99) in medians.items():
        added = (p50 - medians[_DIRECT][0], p99 - medians[_DIRECT][1])
        shown = ("–", "–") if name == _DIRECT else (f"{added[0]:.2f}", f"{added[1]:.2f}")
        section.rows.append((name, f"{p50:.2f}", f"{p99:.2f}", *shown))
        figures = {"p50_ms": p50, "p99_ms": p99, "added_p50_ms": added[0], "added_p99_ms": added[1]}
        section.figures[name] = {**figures, "per_second": rate}
    reached = section.figures[edge.PEER.name]
    for share, most in (("p50", _P50_MS_MOST), ("p99", _P99_MS_MOST)):
        added_ms = reached[f"added_{share}_ms"]
        section.goals.append(Goal(f"added by the edge, {share} ≤ {most:g} ms", f"{added_ms:.2f} ms", added_ms <= most))
    return section


def _share(sorted_times: Sequence[float], share: float) -> float:
    return sorted_times[int(len(sorted_times) * share)]
