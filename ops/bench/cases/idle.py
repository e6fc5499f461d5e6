"""What an idle connection takes, ten thousand of them at once."""

from collections.abc import Iterator

from ops.bench.idle import bytes_each, room
from ops.bench.load import load
from ops.bench.peers import edge, nginx
from ops.bench.report import Goal, Section
from ops.bench.setting import Bench, side_by_side

_CONNECTIONS = 10_000
_KB_MOST = 15


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    connections = min(_CONNECTIONS, room())
    section = Section(f"Memory: {connections} idle connections", ("what", "KB for each"), skipped=skipped)
    with side_by_side(bench, (edge.PEER, nginx.LUA, nginx.BARE), skipped) as started:
        for name, (peer, running) in started.items():
            request = bench.request(peer, running)
            load(request, bench.seconds)  # what the first requests take is no connection's
            kilobytes = bytes_each(request, running, connections) / 1000
            section.rows.append((name, f"{kilobytes:.1f}"))
            section.figures[name] = {"kilobytes_each": kilobytes}
    if edge.PEER.name in section.figures:
        reached = section.figures[edge.PEER.name]["kilobytes_each"]
        text = f"an idle connection of the edge ≤ {_KB_MOST} KB"
        section.goals.append(Goal(text, f"{reached:.1f} KB", reached <= _KB_MOST))
    yield section
