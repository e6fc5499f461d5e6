"""The limiter when its store is away, stalled, starved, or asks for a password."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from structlog.testing import LogCapture

from common.limits import Limiter, Rule

GENERAL = Rule("general", 10, 60)
NewLimiter = Callable[..., Limiter]


def events(log: LogCapture) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in log.entries]


async def until_degraded(limiter: Limiter, expected: bool) -> None:
    async with asyncio.timeout(5):
        while limiter.degraded is not expected:
            await asyncio.sleep(0.005)


async def allowed_of(calls: int, limiter: Limiter, subject: str) -> int:
    return sum([(await limiter.check(subject, [GENERAL])).allowed for _ in range(calls)])


async def test_killed_store_is_replaced_by_memory_until_it_is_back(
    server: Any, new_limiter: NewLimiter, log: LogCapture
) -> None:
    limiter = new_limiter(server.url, processes=2)
    assert (await limiter.check("user:1", [GENERAL])).degraded is False
    server.stop()
    await until_degraded(limiter, True)  # noticed without any call
    decision = await limiter.check("user:1", [GENERAL])
    assert (decision.allowed, decision.degraded, decision.limit, decision.remaining) == (True, True, 10, 4)
    assert await allowed_of(20, limiter, "user:1") == 4
    server.start()
    await until_degraded(limiter, False)
    decision = await limiter.check("user:1", [GENERAL])
    assert (decision.allowed, decision.degraded, decision.remaining) == (True, False, 9)
    assert events(log) == [("warning", "limits_store_down"), ("info", "limits_store_back")]
    assert limiter.counts["general"].fallback == 21


async def test_store_killed_under_load_fails_no_call(server: Any, new_limiter: NewLimiter) -> None:
    limiter = new_limiter(server.url)
    await limiter.open()
    asyncio.get_running_loop().call_later(0.05, server.send, signal.SIGKILL)
    checked = 0
    async with asyncio.timeout(10):
        while not limiter.degraded:
            decisions = await asyncio.gather(
                *(limiter.check(f"user:{i}", [Rule("many", 10**6, 60)]) for i in range(30))
            )
            checked += sum(decision.allowed for decision in decisions)
    assert checked % 30 == 0
    assert checked > 30


async def test_store_that_was_never_there_costs_a_warning_only(new_limiter: NewLimiter, log: LogCapture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    limiter = new_limiter(f"redis://127.0.0.1:{port}/0")
    assert await allowed_of(20, limiter, "user:1") == 10
    assert events(log) == [("warning", "limits_store_down")]
    assert "limits_store_down" not in str(log.entries[0]["reason"])


async def test_after_the_first_timeout_a_stalled_store_costs_nothing(
    server: Any, new_limiter: NewLimiter, log: LogCapture
) -> None:
    limiter = new_limiter(server.url, timeout_seconds=0.1)
    await limiter.open()
    server.send(signal.SIGSTOP)
    began = time.perf_counter()
    assert (await limiter.check("user:0", [GENERAL])).degraded is True
    assert 0.05 < time.perf_counter() - began < 1.0
    took = []
    for i in range(1000):
        began = time.perf_counter()
        assert (await limiter.check(f"user:{i}", [GENERAL])).degraded is True
        took.append(time.perf_counter() - began)
        if i % 10 == 0:
            await asyncio.sleep(0.0005)  # the probes run meanwhile
    assert sorted(took)[989] <= 0.005
    server.send(signal.SIGCONT)
    await until_degraded(limiter, False)
    assert events(log) == [("warning", "limits_store_down"), ("info", "limits_store_back")]


async def test_store_without_memory_for_writes_counts_as_down(
    server: Any, new_limiter: NewLimiter, log: LogCapture
) -> None:
    limiter = new_limiter(server.url)
    await limiter.open()
    with Redis.from_url(server.url) as store:
        store.config_set("maxmemory-policy", "noeviction")
        store.config_set("maxmemory", 1)
        decisions = await asyncio.gather(*(limiter.check("user:1", [GENERAL, Rule("b", 3, 60)]) for _ in range(6)))
        assert [decision.allowed for decision in decisions] == [True] * 3 + [False] * 3
        assert all(decision.degraded for decision in decisions)
        assert limiter.degraded
        assert "OOM" in log.entries[0]["reason"]
        assert list(store.scan_iter(match="*user:1*")) == []  # nothing was recorded in part
        store.config_set("maxmemory", 0)
    await until_degraded(limiter, False)
    assert (await limiter.check("user:1", [GENERAL])).remaining == 9


async def test_connection_closed_while_idle_is_opened_again_silently(
    server: Any, new_limiter: NewLimiter, log: LogCapture
) -> None:
    limiter = new_limiter(server.url)
    await limiter.check("user:1", [GENERAL])
    with Redis.from_url(server.url) as store:
        assert store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 1
        async with asyncio.timeout(5):
            while store.execute_command("CLIENT", "LIST").count(b"\n") < 2:
                await asyncio.sleep(0.005)
    assert (await limiter.check("user:1", [GENERAL])).remaining == 8
    assert events(log) == []


async def test_remembered_refusal_holds_while_the_store_is_away(server: Any, new_limiter: NewLimiter) -> None:
    limiter = new_limiter(server.url)
    assert await allowed_of(11, limiter, "user:1") == 10
    server.stop()
    await until_degraded(limiter, True)
    assert (await limiter.check("user:1", [GENERAL])).allowed is False


async def test_cost_above_a_workers_part_still_passes_once(new_limiter: NewLimiter, server: Any) -> None:
    server.stop()
    limiter = new_limiter(server.url, processes=4)
    email = Rule("email", 10, 60, cost=8)
    assert [(await limiter.check("user:1", [email])).allowed for _ in range(2)] == [True, False]


async def test_limiter_without_a_store_is_local_by_choice() -> None:
    limiter = Limiter(None, processes=4, clock=lambda: 1_000.5)
    await limiter.open()
    decisions = [await limiter.check("user:1", [GENERAL]) for _ in range(3)]
    assert decisions[1] == (True, "general", 10, 0, 1061, None, False)
    assert decisions[2] == (False, "general", 10, 0, 1061, 60, False)
    assert limiter.degraded is False
    await limiter.close()


async def test_checks_under_way_are_answered_when_the_limiter_closes(server: Any, new_limiter: NewLimiter) -> None:
    limiter = new_limiter(server.url, timeout_seconds=5.0)
    await limiter.open()
    server.send(signal.SIGSTOP)
    check = asyncio.create_task(limiter.check("user:1", [GENERAL]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not check.done()
    await limiter.close()
    assert (await check).allowed


async def test_password_database_and_unix_socket_of_the_url_are_used(
    server: Any, new_limiter: NewLimiter, log: LogCapture
) -> None:
    with Redis.from_url(server.url) as store:
        store.config_set("requirepass", "open sesame")
    guarded = server.url.replace("redis://", "redis://:open%20sesame@").replace("/0", "/3")
    limiter = new_limiter(guarded)
    assert (await limiter.check("user:1", [GENERAL])).degraded is False
    with Redis.from_url(guarded) as store:
        assert store.exists("gatehouse:limit:{user:1}:general") == 1
    locked_out = new_limiter(server.url)
    assert (await locked_out.check("user:1", [GENERAL])).degraded is True
    assert "NOAUTH" in log.entries[-1]["reason"]
    by_socket = new_limiter(f"unix://:open%20sesame@{server.socket_path}?db=3")
    assert (await by_socket.check("user:1", [GENERAL])).remaining == 8
