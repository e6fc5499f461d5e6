"""The full policy over TLS, keep-alive: what encryption adds to each request, not handshakes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

from edge.settings import EdgeSettings
from ops.bench import certificate
from ops.bench.load import Request
from ops.bench.peers import Peer, Setting, edge, nginx
from ops.bench.processes import NotStarted, Running, free_ports
from ops.bench.programs import Unavailable
from ops.bench.report import Section, load_section, ratio_goal
from ops.bench.rounds import Subject, compare
from ops.bench.setting import Bench


def run(bench: Bench) -> Iterator[Section]:
    skipped: dict[str, str] = {}
    subjects = {}
    with ExitStack() as stack:
        for peer in (edge.PEER, nginx.LUA):
            try:
                subjects[peer.name] = _subject(bench, peer, stack)
            except (Unavailable, NotStarted) as error:
                skipped[peer.name] = str(error)
        outcomes = compare(subjects, rounds=bench.rounds, seconds=bench.seconds)
    section = load_section("Full policy over TLS 1.3", outcomes)
    section.skipped = skipped
    ratio_goal(section, "edge", "nginx + Lua", 1.5)
    yield section


def _subject(bench: Bench, peer: Peer, stack: ExitStack) -> Subject:
    assert peer.algorithm is not None
    setting, port = bench.setting(f"{peer.name} TLS"), free_ports(1)[0]
    running = stack.enter_context(_run_edge(setting, port) if peer is edge.PEER else _run_nginx(setting, port))
    headers = {"Authorization": f"Bearer {bench.issuer.token(peer.algorithm)}"}
    return Subject(running, Request(f"https://{certificate.HOST}:{port}/bench", headers))


def _run_edge(setting: Setting, port: int) -> AbstractContextManager[Running]:
    if "edge_tls_port" not in EdgeSettings.model_fields:
        raise Unavailable("this edge does not end TLS")
    certificate.make(setting.folder / "var" / "certs")
    return edge.run(setting, EDGE_TLS_PORT=str(port))


def _run_nginx(setting: Setting, port: int) -> AbstractContextManager[Running]:
    pair = certificate.make(setting.folder)
    return nginx.run_lua(setting, tls={"port": port, **pair._asdict()})
