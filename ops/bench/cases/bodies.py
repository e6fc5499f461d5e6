"""The full policy with larger bodies: answers of 10 and 100 KB, and 10 KB sent."""

from collections.abc import Iterator

from ops.bench.peers import edge, nginx
from ops.bench.report import Section, load_section, ratio_goal
from ops.bench.rounds import Subject, compare
from ops.bench.setting import Bench, side_by_side

_REQUESTS = {
    "An answer of 10 KB": ("/bench/10k", 0),
    "An answer of 100 KB": ("/bench/100k", 0),
    "10 KB sent": ("/upload", 10 * 1024),
}


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    with side_by_side(bench, (edge.PEER, nginx.LUA, nginx.BARE), skipped) as started:
        for title, (path, body_bytes) in _REQUESTS.items():
            subjects = {
                name: Subject(running, bench.request(peer, running, path, body_bytes))
                for name, (peer, running) in started.items()
            }
            outcomes = compare(subjects, rounds=bench.rounds, seconds=bench.seconds)
            section = load_section(f"Full policy: {title[0].lower()}{title[1:]}", outcomes)
            section.skipped = skipped
            ratio_goal(section, "edge", "nginx + Lua", 1.5)
            yield section
