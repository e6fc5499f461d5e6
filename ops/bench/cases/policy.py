"""The full policy on a small answer: the edge beside what people use instead."""

from collections.abc import Iterator

from ops.bench.peers import aiohttp_session, caddy, edge, express, fastapi, haproxy, nginx
from ops.bench.report import Section, load_section, ratio_goal
from ops.bench.rounds import Subject, compare
from ops.bench.setting import Bench, side_by_side
from ops.bench.upstream import BODY

PEERS = (
    edge.PEER,
    nginx.LUA,
    nginx.BARE,
    haproxy.POLICY,
    haproxy.BARE,
    caddy.BARE,
    aiohttp_session.PEER,
    express.PEER,
    fastapi.PEER,
)


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    with side_by_side(bench, PEERS, skipped) as started:
        subjects = {name: Subject(running, bench.request(peer, running)) for name, (peer, running) in started.items()}
        outcomes = compare(subjects, rounds=bench.rounds, seconds=bench.seconds)
    section = load_section(f"Full policy, an answer of {len(BODY)} bytes", outcomes)
    section.skipped = skipped
    section.notes = [f"- {name}: {peer.does}." for name, (peer, _) in started.items()]
    ratio_goal(section, "edge", "nginx + Lua", 1.25, " (aim 1.0×)")
    ratio_goal(section, "edge", "Caddy", 1)
    ratio_goal(section, "edge", "Express", 1 / 10)
    ratio_goal(section, "edge", "FastAPI", 1 / 40)
    yield section
