"""Requests at a constant rate, in a process of its own: `python -m ops.load.generator OUTCOME < plan`.

Open loop: each request has a time at which it is due, and its latency counts from then, however long the ones before
it take and however late it really leaves. A server that stalls is charged for everybody who had to wait (see
"coordinated omission", Gil Tene, How NOT to Measure Latency).
"""

import asyncio
import collections
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from common.http1 import Pool, Timeouts, UpstreamError
from ops.load.people import Person, new_expense

# Of a hundred requests: how many of each kind.
MIX = {"list": 80, "get": 10, "create": 10}
# Whoever has not been answered by then counts as failed.
GIVE_UP_SECONDS = 30.0
# Enough for a stall of some seconds: that must show as latency, not as a client without connections.
_CONNECTIONS_MAX = 5000
_BODY_BYTES_MAX = 1 << 20
_EXPECTED = {"list": 200, "get": 200, "create": 201}


@dataclass
class Outcome:
    """Seconds per answered request by kind, how late each left in seconds, and what failed, by reason."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in MIX})
    lags: list[float] = field(default_factory=list)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0
    cpu_seconds: float = 0


class Shot(NamedTuple):
    kind: str
    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None


def shots(people: Sequence[Person], seed: int = 1) -> Iterator[Shot]:
    """Requests without end: kinds by MIX, each person in turn, in an order that is the same every time."""
    choose = random.Random(seed)
    kinds = [kind for kind, share in MIX.items() for _ in range(share)]
    for number, person in zip(itertools.count(), itertools.cycle(people), strict=False):
        headers = [(b"Authorization", b"Bearer " + person.token.encode())]
        kind = choose.choice(kinds)
        if kind == "list":
            yield Shot(kind, "GET", b"/api/v1/expenses", headers, None)
        elif kind == "get":
            yield Shot(kind, "GET", b"/api/v1/expenses/" + choose.choice(person.expenses).encode(), headers, None)
        else:
            body = orjson.dumps(new_expense(person.category, number))
            yield Shot(kind, "POST", b"/api/v1/expenses", [*headers, (b"Content-Type", b"application/json")], body)


async def fire(pool: Pool, people: Sequence[Person], *, per_second: float, seconds: float) -> Outcome:
    """Sends `per_second · seconds` requests, each at its time, and waits for their answers."""
    outcome = Outcome()
    under_way: set[asyncio.Task[None]] = set()
    started, cpu = time.monotonic(), time.process_time()
    for number, shot in enumerate(itertools.islice(shots(people), round(per_second * seconds))):
        due = started + number / per_second
        await _until(due)
        task = asyncio.create_task(_one(pool, shot, due, outcome))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        _, unanswered = await asyncio.wait(under_way, timeout=GIVE_UP_SECONDS)
        outcome.failures.update({"not answered in time": len(unanswered)} if unanswered else {})
        for task in unanswered:
            task.cancel()
    outcome.seconds, outcome.cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    return outcome


async def _until(due: float) -> None:
    # Once is not enough: the loop's timers are as coarse as a millisecond, and may wake early.
    while (early := due - time.monotonic()) > 0:  # noqa: ASYNC110 - there is no event but the time
        await asyncio.sleep(early)


async def _one(pool: Pool, shot: Shot, due: float, outcome: Outcome) -> None:
    outcome.lags.append(time.monotonic() - due)
    try:
        response = await pool.request(
            shot.method, shot.target, shot.headers, shot.body, timeouts=Timeouts(first_byte=GIVE_UP_SECONDS)
        )
        answer = await response.read(_BODY_BYTES_MAX)
    except UpstreamError as error:
        outcome.failures[type(error).__name__] += 1
        return
    if response.status == _EXPECTED[shot.kind] and answer.startswith(b'{"success":true'):
        outcome.latencies[shot.kind].append(time.monotonic() - due)
    else:
        outcome.failures[f"{shot.kind}: {response.status}"] += 1


async def _run(plan: dict[str, Any]) -> Outcome:
    pool = Pool(plan["url"], connections_max=_CONNECTIONS_MAX)
    people = [Person(one["token"], one["category"], tuple(one["expenses"])) for one in plan["people"]]
    try:
        return await fire(pool, people, per_second=plan["per_second"], seconds=plan["seconds"])
    finally:
        await pool.close()


if __name__ == "__main__":
    import uvloop

    outcome = uvloop.run(_run(orjson.loads(sys.stdin.buffer.read())))
    Path(sys.argv[1]).write_bytes(orjson.dumps(outcome))
