"""One of several processes that check the same rule at once: URL SUBJECT LIMIT CALLS PROCESSES.

Waits at a barrier in the store, then prints how many of its calls were admitted.
"""

import asyncio
import sys

from common.limits import Limiter, Rule, connect

TURNS = 20


async def main(url: str, subject: str, limit: int, calls: int, processes: int) -> None:
    client = connect(url)
    limiter = Limiter(client, processes=processes, timeout_seconds=2.0)
    await limiter.open()
    rule, allowed = Rule("general", limit, 60), 0
    async with asyncio.timeout(10):
        await client.incr(f"barrier:{subject}")
        while int(await client.get(f"barrier:{subject}") or 0) < processes:
            await asyncio.sleep(0)
    for _ in range(TURNS):
        decisions = await asyncio.gather(*(limiter.check(subject, [rule]) for _ in range(calls // TURNS)))
        allowed += sum(decision.allowed for decision in decisions)
        assert not any(decision.degraded for decision in decisions)
    await limiter.close()
    await client.delete(f"barrier:{subject}")
    await client.aclose()
    sys.stdout.write(f"{allowed}\n")


asyncio.run(main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:6])))
