"""Limits on a real cluster of three nodes, made here of the same server that everything else uses."""

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import LogCapture

from common.limits import Limiter, Rule
from common.limits.cluster import slot_of
from common.limits.store import list_keys
from tests.cluster_nodes import THIRDS, Nodes, until

GENERAL = Rule("general", 5, 60)
NewLimiter = Callable[..., Limiter]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path_factory.mktemp("cluster"))
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture
async def limiter(nodes: Nodes, new_limiter: NewLimiter) -> Limiter:
    """By way of one node, as REDIS_URL names one."""
    limiter = new_limiter(nodes.servers[1].url, timeout_seconds=2.0)
    await limiter.open()
    return limiter


def subject_on(node: int) -> str:
    """A new subject whose keys are in that third of the slots."""
    first, last = THIRDS[node]
    while not first <= slot_of(key_of(subject := f"user:{uuid.uuid4()}")) <= last:
        pass
    return subject


def key_of(subject: str) -> str:
    return list_keys(subject, [GENERAL])[0]


async def allowed_of(calls: int, limiter: Limiter, subject: str, *rules: Rule) -> int:
    decisions = await asyncio.gather(*(limiter.check(subject, rules or [GENERAL]) for _ in range(calls)))
    assert not any(decision.degraded for decision in decisions)
    return sum(decision.allowed for decision in decisions)


@pytest.mark.parametrize("key", ["{user:1}:x", "plain", "a{}b", "a{b", "a{b}{c}", "{é}", "x{user:1}y}"])
def test_slot_is_the_one_that_the_server_counts(nodes: Nodes, key: str) -> None:
    assert slot_of(key) == nodes.ask(0, "CLUSTER", "KEYSLOT", key)


async def test_any_node_leads_to_all_and_each_keeps_its_own_subjects(nodes: Nodes, limiter: Limiter) -> None:
    for node in range(3):
        subject = subject_on(node)
        assert await allowed_of(8, limiter, subject, GENERAL, Rule("search", 7, 60)) == 5
        assert nodes.ask(node, "LLEN", key_of(subject)) == 5
    assert not limiter.degraded


async def test_two_limiters_by_two_nodes_are_exact_together(
    nodes: Nodes, limiter: Limiter, new_limiter: NewLimiter
) -> None:
    other = new_limiter(nodes.servers[2].url, timeout_seconds=2.0)
    subjects = [subject_on(node) for node in range(3)]
    for subject in subjects:
        both = await asyncio.gather(allowed_of(20, limiter, subject), allowed_of(20, other, subject))
        assert sum(both) == 5


async def test_checks_of_one_turn_reach_each_node_in_one_read(nodes: Nodes, limiter: Limiter) -> None:
    def reads() -> list[int]:
        return [int(re.findall(r"total_reads_processed:(\d+)", nodes.ask(i, "INFO", "stats"))[0]) for i in range(3)]

    subjects = [subject_on(node) for node in range(3) for _ in range(10)]
    before, between = reads(), reads()
    await asyncio.gather(*(limiter.check(subject, [GENERAL]) for subject in subjects))
    of_asking = [second - first for first, second in zip(before, between, strict=True)]
    of_both = [third - second for second, third in zip(between, reads(), strict=True)]
    assert [both - asking for both, asking in zip(of_both, of_asking, strict=True)] == [1, 1, 1]


async def test_slot_that_moves_loses_no_count(nodes: Nodes, limiter: Limiter) -> None:
    subject = subject_on(0)
    slot, (source, target) = slot_of(key_of(subject)), (nodes.ask(i, "CLUSTER", "MYID") for i in (0, 1))
    assert await allowed_of(2, limiter, subject) == 2
    nodes.ask(1, "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    nodes.ask(0, "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    assert (await limiter.check(subject, [GENERAL])).remaining == 2  # still at the source
    assert nodes.ask(0, "MIGRATE", "127.0.0.1", nodes.servers[1].port, key_of(subject), 0, 5000) == "OK"
    assert (await limiter.check(subject, [GENERAL])).remaining == 1  # ASK
    two = await limiter.check(subject, [GENERAL, Rule("other", 9, 60)])  # one key here, one there: no node can
    assert (two.allowed, two.degraded) == (True, True)
    for index in (1, 0, 2):
        nodes.ask(index, "CLUSTER", "SETSLOT", slot, "NODE", target)
    assert (await limiter.check(subject, [GENERAL])).remaining == 0  # MOVED
    assert not (await limiter.check(subject, [GENERAL])).allowed
    assert not limiter.degraded


async def test_node_that_is_away_takes_its_own_subjects_alone(nodes: Nodes, limiter: Limiter, log: LogCapture) -> None:
    lost, kept = subject_on(2), subject_on(0)
    assert await allowed_of(3, limiter, lost) == 3
    nodes.servers[2].stop()
    async with asyncio.timeout(10):
        while not limiter.degraded:
            await asyncio.sleep(0.01)
    decisions = [await limiter.check(lost, [GENERAL]) for _ in range(8)]
    assert sum(decision.allowed for decision in decisions) == 5  # from nothing, in memory
    assert all(decision.degraded for decision in decisions)
    assert await allowed_of(8, limiter, kept) == 5
    nodes.servers[2].start()
    async with asyncio.timeout(20):
        while limiter.degraded:
            await asyncio.sleep(0.01)
    assert await allowed_of(8, limiter, lost) == 5  # it came back with nothing
    said = [(entry["event"], entry["node"]) for entry in log.entries]
    node = f"127.0.0.1:{nodes.servers[2].port}"
    assert said == [("limits_store_down", node), ("limits_store_back", node)]


async def test_replica_that_takes_over_is_found(nodes: Nodes, limiter: Limiter, new_limiter: NewLimiter) -> None:
    nodes.add()
    nodes.meet()
    until(lambda: _succeeds(nodes, "CLUSTER", "REPLICATE", nodes.ask(2, "CLUSTER", "MYID")))
    until(lambda: "master_link_status:up" in nodes.ask(-1, "INFO", "replication"))
    by_old_master = new_limiter(nodes.servers[2].url, timeout_seconds=2.0)
    subject = subject_on(2)
    assert await allowed_of(2, by_old_master, subject) == 2
    until(lambda: nodes.ask(-1, "CLUSTER", "COUNTKEYSINSLOT", slot_of(key_of(subject))) == 1)
    nodes.servers[2].stop()
    nodes.ask(-1, "CLUSTER", "FAILOVER", "TAKEOVER")
    for each in (limiter, by_old_master):
        async with asyncio.timeout(20):
            while (await each.check(subject_on(2), [GENERAL])).degraded or each.degraded:
                await asyncio.sleep(0.02)
    assert (await limiter.check(subject, [GENERAL])).remaining == 2  # the replica has what was counted


def _succeeds(nodes: Nodes, *command: Any) -> bool:
    try:
        return bool(nodes.ask(-1, *command) == "OK")
    except Exception:  # noqa: BLE001 - it does not know its master yet
        return False
