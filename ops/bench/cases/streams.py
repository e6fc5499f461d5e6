"""Long answers: what an event costs that passes by, and how many WebSocket messages a second of CPU time carries."""

import statistics
from collections.abc import Callable, Iterator, Mapping

from edge.entries import RouteEntry
from ops.bench.load import Request
from ops.bench.peers import edge, nginx
from ops.bench.processes import Running
from ops.bench.report import Goal, Section
from ops.bench.setting import Bench, side_by_side
from ops.bench.streaming import events, messages
from ops.bench.upstream_streams import EVENT_SECONDS

_EVENT_STREAMS, _SOCKETS = 50, 64
_EVENT_US_MOST = 20
_SHARE_LEAST = 0.5

Measure = Callable[[Request, Running], tuple[int, float]]


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    with side_by_side(bench, (edge.PEER, nginx.LUA, nginx.BARE), skipped) as started:
        subjects = {
            name: (running, bench.request(peer, running, "/bench/events")) for name, (peer, running) in started.items()
        }
        yield _events(bench, subjects, skipped)
    if "websocket" not in RouteEntry.model_fields:
        yield Section("WebSocket messages", (), skipped={edge.PEER.name: "this edge passes no WebSockets on"})
        return
    with side_by_side(bench, (edge.WITH_SOCKETS, nginx.BARE), skipped) as started:
        sockets = {
            name: (running, bench.request(peer, running, "/socket")) for name, (peer, running) in started.items()
        }
        yield _messages(bench, sockets, skipped)


def _events(bench: Bench, subjects: Mapping[str, tuple[Running, Request]], skipped: dict[str, str]) -> Section:
    def measure(request: Request, proxy: Running) -> tuple[int, float]:
        return events(request, proxy, connections=_EVENT_STREAMS, seconds=bench.seconds)

    title = f"Server-sent events: {_EVENT_STREAMS} streams, one event every {EVENT_SECONDS * 1000:.0f} ms each"
    section = Section(title, ("what", "CPU µs per event", "least–most"), skipped=skipped)
    for name, costs in _rounds(bench, subjects, measure).items():
        median = statistics.median(costs)
        section.rows.append((name, f"{median:.1f}", f"{min(costs):.0f}–{max(costs):.0f}"))
        section.figures[name] = {"cpu_us": median}
    if edge.PEER.name in section.figures:
        reached = section.figures[edge.PEER.name]["cpu_us"]
        text = f"CPU per event through the edge ≤ {_EVENT_US_MOST} µs"
        section.goals.append(Goal(text, f"{reached:.1f} µs", reached <= _EVENT_US_MOST))
    return section


def _messages(bench: Bench, subjects: Mapping[str, tuple[Running, Request]], skipped: dict[str, str]) -> Section:
    def measure(request: Request, proxy: Running) -> tuple[int, float]:
        return messages(request, proxy, connections=_SOCKETS, seconds=bench.seconds)

    title = f"WebSocket: {_SOCKETS} connections, each answer followed by the next message"
    section = Section(title, ("what", "messages per CPU second", "least–most"), skipped=skipped)
    for name, costs in _rounds(bench, subjects, measure).items():
        rates = [1e6 / cost for cost in costs]
        median = statistics.median(rates)
        section.rows.append((name, f"{median:.0f}", f"{min(rates):.0f}–{max(rates):.0f}"))
        section.figures[name] = {"messages_per_cpu_second": median}
    reached = {name: figures["messages_per_cpu_second"] for name, figures in section.figures.items()}
    if len(reached) == len(subjects) == 2:
        share = reached[edge.PEER.name] / reached[nginx.BARE.name]
        text = f"messages per CPU second, of nginx's, ≥ {_SHARE_LEAST:.0%}"
        section.goals.append(Goal(text, f"{share:.0%}", share >= _SHARE_LEAST))
    return section


def _rounds(bench: Bench, subjects: Mapping[str, tuple[Running, Request]], measure: Measure) -> dict[str, list[float]]:
    """CPU microseconds for each that passed by, by subject and round; rounds take turns."""
    costs: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(bench.rounds):
        for name, (running, request) in subjects.items():
            count, used = measure(request, running)
            costs[name].append(used * 1e6 / count)
    return costs
