"""The limiter on a store that works: exact, in few round trips."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop
from redis import Redis

from common.limits import Limiter, Rule, connect
from common.limits.store import SCRIPT_SHA

GENERAL = Rule("general", 5, 60)
NewLimiter = Callable[..., Limiter]


def script_calls(store: Redis) -> int:
    """How many times the store has run a script."""
    stats: dict[str, Any] = store.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def allowed_of(calls: int, limiter: Limiter, subject: str, rule: Rule) -> int:
    decisions = await asyncio.gather(*(limiter.check(subject, [rule]) for _ in range(calls)))
    return sum(decision.allowed for decision in decisions)


async def test_headers_count_down_and_the_next_call_is_refused(limiter: Limiter, subject: str) -> None:
    before = time.time()
    decisions = [await limiter.check(subject, [GENERAL]) for _ in range(6)]
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0, 0]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert {(decision.rule, decision.limit, decision.degraded) for decision in decisions} == {("general", 5, False)}
    assert {decision.reset for decision in decisions} == {decisions[0].reset}
    assert before + 60 <= decisions[0].reset <= time.time() + 61
    assert decisions[-1].retry_after in {59, 60}
    assert decisions[0].retry_after is None


async def test_burst_in_one_round_trip_admits_exactly_the_limit(limiter: Limiter, subject: str) -> None:
    assert await allowed_of(200, limiter, subject, Rule("general", 100, 60)) == 100


def test_two_processes_in_a_race_admit_exactly_the_limit_together(redis_url: str) -> None:
    def run() -> list[int]:
        root = Path(__file__).parents[3]
        command = [sys.executable, str(Path(__file__).with_name("burst_process.py")), redis_url, f"user:{uuid.uuid4()}"]
        processes = [
            subprocess.Popen(
                [*command, "100", "100", "2"], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
            )
            for _ in range(2)
        ]
        return [int(process.communicate(timeout=20)[0]) for process in processes]

    raced = False
    for _ in range(5):
        admitted = run()
        assert sum(admitted) == 100
        raced = all(0 < count < 100 for count in admitted)
        if raced:
            break
    assert raced, "one process was always done before the other began"


async def test_workers_whose_clocks_are_hours_apart_admit_exactly_the_limit(
    redis_url: str, new_limiter: NewLimiter, subject: str
) -> None:
    ahead, behind = (new_limiter(redis_url, clock=lambda skew=skew: time.time() + skew) for skew in (3600, -3600))
    rule = Rule("general", 50, 60)
    admitted = await asyncio.gather(*(allowed_of(100, limiter, subject, rule) for limiter in (ahead, behind)))
    assert sum(admitted) == 50
    refusals = [await limiter.check(subject, [rule]) for limiter in (ahead, behind)]
    assert [refusal.allowed for refusal in refusals] == [False, False]
    assert all(abs(refusal.reset - time.time() - 60) < 5 for refusal in refusals)  # the store's clock is what counts


async def test_no_window_holds_more_than_the_limit(limiter: Limiter, subject: str) -> None:
    rule, admitted = Rule("slide", 10, 0.4), []
    end = time.monotonic() + 1.8
    while (sent := time.monotonic()) < end:
        if (await limiter.check(subject, [rule])).allowed:
            admitted.append((sent, time.monotonic()))
    spans = [admitted[i + 10][1] - admitted[i][0] for i in range(len(admitted) - 10)]
    assert min(spans) >= 0.4
    assert len(admitted) >= 40  # 4 windows are over: nothing is refused for longer than needed


@pytest.mark.parametrize("cost", [1, 3])
async def test_call_passes_after_retry_after_and_not_before(limiter: Limiter, subject: str, cost: int) -> None:
    rule = Rule("email", 4, 0.9)
    await limiter.check(subject, [rule.at_cost(4)])
    refused = await limiter.check(subject, [rule.at_cost(cost)])
    assert (refused.allowed, refused.retry_after) == (False, 1)
    await asyncio.sleep(0.5)
    assert not (await limiter.check(subject, [rule.at_cost(cost)])).allowed
    await asyncio.sleep(0.5)
    assert (await limiter.check(subject, [rule.at_cost(cost)])).allowed


async def test_refusal_by_one_rule_counts_in_none(limiter: Limiter, subject: str) -> None:
    search = Rule("search", 2, 60)
    for _ in range(2):
        assert (await limiter.check(subject, [GENERAL, search])).rule == "search"
    for _ in range(3):
        refused = await limiter.check(subject, [GENERAL, search])
        assert (refused.allowed, refused.rule) == (False, "search")
    assert (await limiter.check(subject, [GENERAL])).remaining == 2


async def test_cost_counts_as_many_calls_and_never_in_part(limiter: Limiter, subject: str) -> None:
    email = Rule("email", 10, 60)
    assert (await limiter.check(subject, [email.at_cost(7)])).remaining == 3
    refused = await limiter.check(subject, [email.at_cost(4)])
    assert (refused.allowed, refused.remaining) == (False, 3)
    assert (await limiter.check(subject, [email.at_cost(3)])).remaining == 0


async def test_scopes_and_subjects_count_apart(limiter: Limiter, subject: str) -> None:
    one = Rule("key", 1, 60, scope="k1")
    assert (await limiter.check(subject, [one])).allowed
    assert not (await limiter.check(subject, [one])).allowed
    assert (await limiter.check(subject, [Rule("key", 1, 60, scope="k2")])).allowed
    assert (await limiter.check(subject + "x", [one])).allowed


async def test_every_key_expires_and_shares_the_subjects_hash_tag(limiter: Limiter, subject: str, store: Redis) -> None:
    await limiter.check(subject, [GENERAL, Rule("short", 3, 0.5)])
    keys = list(store.scan_iter(match=f"*{subject}*"))
    assert len(keys) == 2
    assert all(f"{{{subject}}}".encode() in key for key in keys)
    ttls = sorted(store.pttl(key) for key in keys)
    assert 500 < ttls[0] <= 1_500
    assert 60_000 < ttls[1] <= 61_000


@pytest.mark.parametrize("wrong", [("", [GENERAL]), ("}", [GENERAL]), ("user:1", []), ("user:1", [GENERAL, GENERAL])])
async def test_check_that_makes_no_sense_is_refused(limiter: Limiter, wrong: tuple[str, list[Rule]]) -> None:
    with pytest.raises(ValueError, match=r"subject|needs rules"):
        await limiter.check(*wrong)


async def test_script_is_loaded_again_when_the_store_forgot_it(limiter: Limiter, subject: str, store: Redis) -> None:
    await limiter.check(subject, [GENERAL])
    store.script_flush()
    assert store.script_exists(SCRIPT_SHA) == [False]
    assert await allowed_of(10, limiter, subject, GENERAL) == 4
    assert not limiter.degraded


async def test_remembered_refusal_asks_the_store_no_more(limiter: Limiter, subject: str, store: Redis) -> None:
    tight = Rule("tight", 1, 60)
    await limiter.check(subject, [tight])
    refused = await limiter.check(subject, [GENERAL, tight])
    asked = script_calls(store)
    for _ in range(300):
        assert await limiter.check(subject, [GENERAL, tight]) == refused
    assert script_calls(store) == asked
    assert (await limiter.check(subject, [GENERAL])).remaining == 4
    counts = limiter.counts["tight"]
    assert (counts.allowed, counts.denied, counts.denied_locally, counts.fallback) == (1, 301, 300, 0)


async def test_raised_limit_is_not_refused_from_memory(limiter: Limiter, subject: str) -> None:
    assert await allowed_of(6, limiter, subject, GENERAL) == 5
    assert (await limiter.check(subject, [Rule("general", 10, 60)])).remaining == 4


class Relay:
    """Passes bytes to and from the store, and counts what arrives from the client in one piece."""

    def __init__(self, url: str) -> None:
        self.pieces = 0
        self._target = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Relay":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        credentials, at, _ = self._target.netloc.rpartition("@")
        self.url = self._target._replace(netloc=f"{credentials}{at}{address}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        for copy in (self._copy(reader, store_writer, counted=True), self._copy(store_reader, writer, counted=False)):
            self._tasks.add(asyncio.create_task(copy))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.pieces += counted
                writer.write(data)
        except ConnectionError:
            pass  # the limiter leaves without a farewell
        writer.close()


async def test_checks_of_one_turn_leave_in_one_round_trip(redis_url: str, new_limiter: NewLimiter) -> None:
    async with Relay(redis_url) as relay:
        limiter = new_limiter(relay.url, timeout_seconds=2.0)
        await limiter.open()
        before = relay.pieces
        decisions = await asyncio.gather(*(limiter.check(f"user:{uuid.uuid4()}", [GENERAL]) for _ in range(50)))
        assert all(decision.allowed and not decision.degraded for decision in decisions)
        assert relay.pieces - before == 1
        await limiter.close()


async def test_caller_that_leaves_before_the_turn_ends_is_not_counted(limiter: Limiter, subject: str) -> None:
    checks = [asyncio.create_task(limiter.check(subject, [GENERAL])) for _ in range(4)]
    asyncio.get_running_loop().call_soon(checks[0].cancel)
    first, *others = await asyncio.gather(*checks, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert [decision.remaining for decision in others if not isinstance(decision, BaseException)] == [4, 3, 2]


async def test_caller_that_leaves_during_the_round_trip_harms_no_other(limiter: Limiter, subject: str) -> None:
    checks = [asyncio.create_task(limiter.check(subject, [GENERAL])) for _ in range(4)]
    for _ in range(3):  # the checks, their flush, one turn more
        await asyncio.sleep(0)
    checks[1].cancel()
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [result.remaining for result in results if not isinstance(result, BaseException)] == [4, 2, 1]
    assert (await limiter.check(subject, [GENERAL])).remaining == 0


class Slow(asyncio.Protocol):
    """Holds the event loop up while it handles input."""

    def data_received(self, data: bytes) -> None:
        time.sleep(0.2)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_event_loop_that_was_held_up_is_no_store_down(
    run: Callable[[Coroutine[Any, Any, None]], None], redis_url: str, subject: str
) -> None:
    async def scenario() -> None:
        loop, client = asyncio.get_running_loop(), connect(redis_url)
        limiter = Limiter(client, processes=1, timeout_seconds=0.05)
        await limiter.open()
        ours, peer = socket.socketpair()
        slow, _ = await loop.create_connection(Slow, sock=ours)
        with peer:
            check = asyncio.create_task(limiter.check(subject, [GENERAL]))
            await asyncio.sleep(0)
            loop.call_soon(peer.send, b"x")  # just after the check has left
            assert (await check).degraded is False
            slow.abort()
        await limiter.close()
        await client.aclose()

    run(scenario())
