"""What one check costs this process: the limiter, and the same script calls through redis-py's pipeline.

    python tests/common/limits/benchmark.py        (from the top of the checkout; takes about ten seconds)

CPU time of this process alone, 27 checks per turn of the event loop, medians of interleaved rounds.
"""

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import uvloop
from redis.asyncio import Redis

from common.limits import Limiter, Rule, connect
from common.limits.store import SCRIPT, list_keys
from tests.servers import running_valkey, state_directory

CHECKS, TURNS, ROUNDS = 27, 300, 7
RULES = (Rule("general", 1_000_000, 60),)
SUBJECTS = [f"user:{number}" for number in range(CHECKS)]


async def with_limiter(limiter: Limiter) -> None:
    await asyncio.gather(*(limiter.check(subject, RULES) for subject in SUBJECTS))


async def with_pipeline(client: Redis, sha: str) -> None:
    async with client.pipeline(transaction=False) as pipeline:
        for subject in SUBJECTS:
            keys = list_keys(subject, RULES)
            pipeline.evalsha(sha, len(keys), *keys, *RULES[0].arguments)
        await pipeline.execute()


async def nothing() -> None:
    await asyncio.gather(*(asyncio.sleep(0) for _ in SUBJECTS))


async def measure(url: str) -> None:
    client = connect(url)
    limiter = Limiter(connect(url), processes=1)
    await limiter.open()
    sha = await client.script_load(SCRIPT.decode())
    ways = {
        "the harness alone": nothing,
        "limiter": lambda: with_limiter(limiter),
        "redis-py pipeline": lambda: with_pipeline(client, sha),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            for _ in range(TURNS):
                await way()
            spent[name].append((time.process_time() - started) / TURNS / CHECKS * 1e6)
    for name, microseconds in spent.items():
        print(f"{name:20} {statistics.median(microseconds):5.1f} µs a check")  # noqa: T201 - that is what it is for
    await limiter.close()


if __name__ == "__main__":
    with state_directory() as var, running_valkey(var) as url:
        uvloop.run(measure(url))
