"""What is held at once is bounded over all processes, and no store and no death of a process locks anybody out."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from edge.leases import LEASE_SECONDS, Leases

KEY = "gatehouse:lease:{user:1}:/feed"


@pytest.fixture
async def store(clean_redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis_url) as client:
        yield client


async def test_two_processes_share_one_count(store: Redis) -> None:
    one, other = Leases(store), Leases(store)
    taken = await asyncio.gather(*(leases.take("user:1", "/feed", 3) for leases in (one, other) * 4))
    assert sum(lease is not None for lease in taken) == 3
    assert await other.take("user:1", "/other", 3) is not None
    assert await other.take("user:2", "/feed", 3) is not None


async def test_what_is_given_back_is_free_for_the_next_at_once(store: Redis) -> None:
    leases = Leases(store)
    for _ in range(20):
        lease = await leases.take("user:1", "/feed", 1)
        assert lease is not None
        leases.give_back(lease)


async def test_what_is_given_back_is_told_to_other_processes(store: Redis) -> None:
    one, other = Leases(store), Leases(store)
    following = asyncio.create_task(one.follow())
    lease = await one.take("user:1", "/feed", 1)
    assert lease is not None
    assert await other.take("user:1", "/feed", 1) is None
    one.give_back(lease)
    async with asyncio.timeout(5):
        while await other.take("user:1", "/feed", 1) is None:
            pass
    following.cancel()


async def test_lease_of_a_caller_that_left_before_the_answer_is_free_at_once(
    store: Redis, clean_redis_url: str
) -> None:
    taken = asyncio.Event()

    class Unheard(Redis):
        async def eval(self, *arguments: object) -> object:  # type: ignore[override]
            await super().eval(*arguments)  # type: ignore[arg-type,misc]
            taken.set()
            return await asyncio.Event().wait()

    async with asyncio.timeout(5), Unheard.from_url(clean_redis_url) as client:
        leases = Leases(client)
        taking = asyncio.create_task(leases.take("user:1", "/feed", 1))
        await taken.wait()
        assert await store.zcard(KEY) == 1
        taking.cancel()
        following = asyncio.create_task(leases.follow())
        while await store.zcard(KEY):
            await asyncio.sleep(0.01)
        following.cancel()


async def test_what_a_dead_process_held_ends_by_itself(store: Redis) -> None:
    assert await Leases(store).take("user:1", "/feed", 1) is not None
    ends = (await store.zrange(KEY, 0, -1, withscores=True))[0][1] / 1000
    seconds, _ = await store.time()
    assert seconds < ends <= seconds + LEASE_SECONDS + 1
    assert 0 < await store.ttl(KEY) <= LEASE_SECONDS
    for member in await store.zrange(KEY, 0, -1):
        await store.zadd(KEY, {member: seconds * 1000 - 1})  # as if it had been long ago
    assert await Leases(store).take("user:1", "/feed", 1) is not None


async def test_what_is_held_is_renewed(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.leases._RENEW_SECONDS", 0.05)
    leases = Leases(store)
    assert await leases.take("user:1", "/feed", 1) is not None
    await store.delete(KEY)  # the store has lost everything
    following = asyncio.create_task(leases.follow())
    async with asyncio.timeout(5):
        while not await store.exists(KEY):
            await asyncio.sleep(0.01)
    following.cancel()
    assert await Leases(store).take("user:1", "/feed", 1) is None


async def test_without_a_store_each_process_counts_for_itself(unused_tcp_port: int) -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{unused_tcp_port}") as away:
        for leases in (Leases(None), Leases(away)):
            held = [await leases.take("user:1", "/feed", 2) for _ in range(3)]
            assert [lease is not None for lease in held] == [True, True, False]
            assert held[0] is not None
            leases.give_back(held[0])
            assert await leases.take("user:1", "/feed", 2) is not None


async def test_store_that_comes_back_learns_what_is_held(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.leases._PROBE_SECONDS", 0.05)
    leases = Leases(store)
    following = asyncio.create_task(leases.follow())
    await store.set(KEY, "no sorted set")  # the store refuses
    assert await leases.take("user:1", "/feed", 1) is not None
    assert await leases.take("user:1", "/feed", 1) is None
    await store.delete(KEY)
    async with asyncio.timeout(5):
        while not await store.exists(KEY):
            await asyncio.sleep(0.01)
    assert await Leases(store).take("user:1", "/feed", 1) is None
    following.cancel()
