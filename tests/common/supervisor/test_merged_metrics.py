"""Counters over all workers, through replacements and reloads."""

import os
import signal
from typing import TYPE_CHECKING

from .conftest import gone

if TYPE_CHECKING:
    from .conftest import Sample, Start


async def metrics(sample: "Sample") -> dict[str, float]:
    client = sample.client()
    families = (await client.request("GET", "/metrics")).json()
    client.close()
    return {name: number for family in families for name, _, number in family[3]}


async def post(sample: "Sample", times: int) -> None:
    for _ in range(times):
        client = sample.client()
        await client.request("POST", "/")
        client.close()


async def test_any_worker_answers_for_all(start: "Start") -> None:
    sample = await start(workers=2)
    await post(sample, 20)
    assert await metrics(sample) == {"requests_total": 20, "up": 2}


async def test_counters_survive_a_reload_gauges_do_not(start: "Start") -> None:
    sample = await start(workers=2, lame_duck=0.1)
    await post(sample, 20)
    old = await sample.pids()
    sample.configure(workers=1)
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    for pid in old:
        await gone(pid)
    while (found := await metrics(sample))["up"] != 1:
        pass  # until the parent has buried them
    assert found["requests_total"] == 20


async def test_counters_of_a_killed_worker_do_not_go_back(start: "Start") -> None:
    sample = await start(workers=2)
    await post(sample, 20)
    assert (await metrics(sample))["requests_total"] == 20
    os.kill(next(iter(await sample.pids())), signal.SIGKILL)
    await sample.saying("killed by SIGKILL; replacing it")
    while (found := await metrics(sample))["up"] != 2:
        assert found["requests_total"] == 20
    assert found["requests_total"] == 20


async def test_stopped_worker_delays_but_keeps_its_counters(start: "Start") -> None:
    sample = await start(workers=2)
    client = sample.client()
    mine = (await client.request("POST", "/")).json()["pid"]
    assert (await metrics(sample))["requests_total"] == 1
    (other,) = set(await sample.pids()) - {mine}
    os.kill(other, signal.SIGSTOP)
    try:
        families = (await client.request("GET", "/metrics")).json()
        assert [family[3][0][2] for family in families] == [1, 2]
    finally:
        os.kill(other, signal.SIGCONT)
