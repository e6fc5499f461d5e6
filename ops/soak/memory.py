"""Half an hour's worth of mixed load in five minutes: does the edge's memory stay where it is?

Two loads at once, so that they mix: ten thousand callers with small answers all the time, and beside them, in turn,
large answers, bodies, refusals, connections of a single request and streams that are broken off.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ops.bench.issuer import forged
from ops.bench.load import Request, load
from ops.bench.peers import edge
from ops.bench.processes import Running
from ops.bench.report import Goal, Section
from ops.bench.setting import Bench, bench
from ops.bench.streaming import events
from ops.soak.watching import Sample, slope, watched

_SECONDS, _WARM_SECONDS = 300, 60
_STANDS_FOR_SECONDS = 1800
_TURN_SECONDS = 5
_USERS = 10_000
_INTRODUCED = 500  # in a second, which even a busy machine can do
_SAMPLE_SECONDS = 1
# 0.2 MB in each of the minutes that stand for six: what leaks a byte a request shows at some thousand a second.
_BYTES_A_MINUTE_MOST = 200_000


def run() -> Iterator[Section]:
    with bench(rounds=1, seconds=_TURN_SECONDS) as given, edge.run(given.setting("edge")) as running:
        callers = _callers(given, running)
        _introduce(callers)
        with watched(running, _SAMPLE_SECONDS) as samples:
            requests = _load(given, running, callers)
    yield _section(samples, requests)


def _introduce(callers: Request) -> None:
    """Everybody comes once: a caller costs some 3 KB, kept until the token ends or 50,000 others have come.

    A turn begins with the first caller. How far it gets depends on the speed of the hour, and that is not growth.
    """
    for start in range(0, _USERS, _INTRODUCED):
        load(replace(callers, several=callers.several[start : start + _INTRODUCED]), 1)


def _load(given: Bench, running: Running, callers: Request) -> int:
    """How many requests were answered, an event of a stream counted as one."""
    beside = itertools.cycle(_beside(given, running))
    requests, ends = 0, time.monotonic() + _SECONDS
    with ThreadPoolExecutor(1) as threads:
        while time.monotonic() < ends:
            other = threads.submit(next(beside))
            requests += load(callers, _TURN_SECONDS).requests + other.result()
    return requests


def _callers(given: Bench, running: Running) -> Request:
    tokens = (given.issuer.token("EdDSA", user) for user in range(_USERS))
    return Request(running.url + "/bench", several=[("/bench", f"Bearer {token}") for token in tokens])


def _beside(given: Bench, running: Running) -> list[Callable[[], int]]:
    token = given.issuer.token("EdDSA")
    good, bad = ({"Authorization": f"Bearer {one}"} for one in (token, forged(token)))
    requests = [
        Request(f"{running.url}/bench/100k", good),
        Request(f"{running.url}/upload", good, body_bytes=10 * 1024),
        Request(f"{running.url}/bench", bad, is_refused=True),
        Request(f"{running.url}/bench", {**good, "Connection": "close"}),
        Request(f"{running.url}/nowhere", good, is_refused=True),
    ]
    streams = Request(f"{running.url}/bench/events", good)
    loads = [_turn(request) for request in requests]
    return [*loads, lambda: events(streams, running, connections=200, seconds=_TURN_SECONDS - 1)[0]]


def _turn(request: Request) -> Callable[[], int]:
    return lambda: load(request, _TURN_SECONDS).requests


def _section(samples: list[Sample], requests: int) -> Section:
    """The first minute is left out: the allocator finds its size. From there on no growth is expected at all."""
    settled = [sample for sample in samples if sample.seconds > _WARM_SECONDS]
    quarter = len(settled) // 4
    early, late = (
        statistics.median(sample.size_bytes for sample in part) / 1e6
        for part in (settled[:quarter], settled[-quarter:])
    )
    growth = slope(settled)
    section = Section("Memory under mixed load", ("what", ""))
    section.rows = [
        ("requests", f"{requests}"),
        (f"that many in {_STANDS_FOR_SECONDS // 60} minutes are", f"{requests / _STANDS_FOR_SECONDS:.0f} a second"),
        ("MB (PSS), early and late", f"{early:.1f}, {late:.1f}"),
        ("slope, KB a minute", f"{growth / 1000:.0f}"),
    ]
    text = f"slope ≤ {_BYTES_A_MINUTE_MOST / 1000:.0f} KB a minute"
    section.goals = [Goal(text, f"{growth / 1000:.0f} KB", growth <= _BYTES_A_MINUTE_MOST)]
    return section
