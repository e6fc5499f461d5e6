"""The script and the local memory against one plain list of times."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.commands.core import Script

from common.limits.memory import MemoryLists
from common.limits.store import SCRIPT

# (limit, window in µs) of two rules, then calls: µs since the call before, and the cost in each rule (0: not asked).
Limits = list[tuple[int, int]]
LIMITS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 400)), min_size=2, max_size=2)
CALLS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40)
START = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def script_at(redis_url: str) -> Iterator[Script]:
    """The script with its one line that reads the clock replaced by two arguments."""
    timed = SCRIPT.replace(b"call('TIME')", b"{ARGV[#ARGV - 1], ARGV[#ARGV]}")
    assert timed != SCRIPT
    with Redis.from_url(redis_url) as client:
        yield client.register_script(timed)


def run_script(script: Script, checks: list[tuple[str, int, int, int]], now: int) -> list[int]:
    arguments = [number for check in checks for number in check[1:]]
    reply: list[int] = script([check[0] for check in checks], [*arguments, *divmod(now, 1_000_000)])
    return reply


class Model:
    """Every admission ever, and nothing clever."""

    def __init__(self) -> None:
        self.times: dict[str, list[int]] = {}

    def used(self, key: str, window: int, at: int) -> int:
        return sum(time > at - window for time in self.times.get(key, []))

    def check(self, checks: list[tuple[str, int, int, int]], now: int) -> list[int]:
        admitted = all(self.used(key, window, now) + cost <= limit for key, limit, window, cost in checks)
        waits = [self.wait(*check, now) for check in checks]
        if admitted:
            for key, _, _, cost in checks:
                self.times.setdefault(key, []).extend([now] * cost)
        reply = [int(admitted), now]
        for (key, _, window, _), wait in zip(checks, waits, strict=True):
            counted = [time for time in self.times.get(key, []) if time > now - window]
            reply += len(counted), min(counted, default=now) + window, wait
        return reply

    def wait(self, key: str, limit: int, window: int, cost: int, now: int) -> int:
        return next(wait for wait in range(window + 1) if self.used(key, window, now + wait) + cost <= limit)


@given(limits=LIMITS, calls=CALLS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_script_and_memory_agree_with_a_plain_list(
    script_at: Script, subject: str, limits: Limits, calls: list[tuple[int, int, int]]
) -> None:
    model, memory, now = Model(), MemoryLists(), START
    keys = [f"{{{subject}}}:{i}" for i in range(2)]
    script_at.registered_client.delete(*keys)
    for step, *costs in calls:
        now += step
        checks = [
            (key, limit, window, min(cost, limit))
            for key, (limit, window), cost in zip(keys, limits, costs, strict=True)
            if cost
        ]
        if checks:
            expected = model.check(checks, now)
            assert memory.check(checks, now) == expected
            assert run_script(script_at, checks, now) == expected


@given(
    window=st.integers(1, 400),
    calls=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 12), st.integers(1, 40)), min_size=1, max_size=40),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_limit_that_changes_within_a_window_counts_what_was_used(
    script_at: Script, subject: str, window: int, calls: list[tuple[int, int, int]]
) -> None:
    """As when a caller's tier changes: each call comes with the limit of that moment, higher or lower than before."""
    model, memory, now, key = Model(), MemoryLists(), START, f"{{{subject}}}:tier"
    script_at.registered_client.delete(key)
    for step, cost, limit in calls:
        now += step
        checks = [(key, limit, window, min(cost, limit))]
        expected = model.check(checks, now)
        assert memory.check(checks, now) == expected
        assert run_script(script_at, checks, now) == expected


def test_clock_set_back_admits_no_more_and_blocks_no_longer_than_a_window(script_at: Script, subject: str) -> None:
    memory = MemoryLists()

    def both(now: int, cost: int = 1) -> list[int]:
        check = [(f"{{{subject}}}:g", 2, 1_000_000, cost)]
        reply = run_script(script_at, check, now)
        assert memory.check(check, now) == reply
        return reply

    assert both(START)[0] == 1
    assert both(START - 400_000)[0] == 1
    refused = both(START - 300_000)
    assert (refused[0], refused[-1]) == (0, 1_300_000)
    assert both(START - 300_000, cost=2)[-1] == 1_300_000
    assert both(START - 300_000 + 1_300_000)[0] == 1
    assert both(START - 2_000_000)[0] == 1  # by more than the window: the old times are dropped


def test_thousands_expire_in_one_call_and_the_rest_stay(script_at: Script, subject: str) -> None:
    key, window = f"{{{subject}}}:bulk", 1_000_000
    for i in range(5):
        assert run_script(script_at, [(key, 20_000, window, 3_001)], START + i)[0] == 1
    reply = run_script(script_at, [(key, 20_000, window, 1)], START + 2 + window)
    assert reply[2] == 2 * 3_001 + 1


def test_memory_keeps_no_more_keys_than_its_bound() -> None:
    memory = MemoryLists(keys_max=10)
    for i in range(100):
        memory.check([(f"user:{i}", 1, 1_000_000, 1)], START + i)
    assert len(memory) == 10
    assert memory.check([("user:99", 1, 1_000_000, 1)], START + 100)[0] == 0


def test_memory_lets_go_of_expired_keys() -> None:
    memory = MemoryLists()
    for i in range(100):
        memory.check([(f"user:{i}", 1, 10, 1)], START + 20 * i)
    assert len(memory) <= 2
