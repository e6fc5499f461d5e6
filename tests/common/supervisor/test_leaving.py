"""How workers and the whole service go: nobody's request is lost, and nothing is left behind."""

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from .conftest import gone

if TYPE_CHECKING:
    from .conftest import Start


async def test_retiring_worker_answers_open_connections_with_close(start: "Start") -> None:
    sample = await start(version="old", lame_duck=30)
    client = sample.client()
    await client.request("GET", "/ready")
    sample.configure(version="new")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    answer = await client.request("POST", "/")
    assert (answer.json()["version"], answer.headers["connection"]) == ("old", "close")
    assert (await client.request("POST", "/")).json()["version"] == "new"


async def test_retiring_for_a_reload_stays_ready(start: "Start") -> None:
    sample = await start(lame_duck=30)
    client = sample.client()
    await client.request("GET", "/ready")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    answer = await client.request("GET", "/ready")
    assert (answer.status, answer.json()) == (200, {"retiring": True})


async def test_draining_service_tells_new_connections_that_it_is_not_ready(start: "Start") -> None:
    sample = await start(lame_duck=30)
    client = sample.client()
    await client.request("GET", "/ready")
    sample.signal(signal.SIGTERM)
    while (answer := await sample.client().request("GET", "/ready")).status == 200:
        pass  # until the word has reached the worker
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert (await client.request("POST", "/")).headers["connection"] == "close"


async def test_term_closes_idle_connections_and_finishes_what_is_in_flight(start: "Start") -> None:
    sample = await start(workers=1)
    idle, slow = sample.client(), sample.client()
    await slow.send("POST", "/", b"begun, ", later=8)
    await idle.request("GET", "/ready")
    sample.signal(signal.SIGTERM)
    assert await idle.ended()
    await slow.send_rest(b"finished")
    answer = await slow.receive()
    assert (answer.json()["echo"], answer.headers["connection"]) == ("begun, finished", "close")
    assert await sample.ended() == 0


async def test_answer_half_sent_is_sent_whole(start: "Start") -> None:
    sample = await start()
    idle, reading = sample.client(), sample.client()
    await idle.request("GET", "/ready")
    await reading.send("GET", "/large")
    sample.signal(signal.SIGTERM)
    assert await idle.ended()
    assert len((await reading.receive()).body) == 3_000_000
    assert await sample.ended() == 0


async def test_request_that_never_ends_is_given_up(start: "Start") -> None:
    sample = await start(lame_duck=0, shutdown=0.3)
    stuck = sample.client()
    await stuck.send("POST", "/", later=1)
    await sample.client().request("GET", "/ready")
    sample.signal(signal.SIGTERM)
    assert await stuck.ended()
    assert await sample.ended() == 0
    assert "did not end well" not in sample.said


async def test_int_skips_the_lame_duck(start: "Start") -> None:
    sample = await start(workers=2, lame_duck=60)
    idle = sample.client()
    await idle.request("GET", "/ready")
    sample.signal(signal.SIGINT)
    assert await idle.ended()
    assert await sample.ended() == 0


@pytest.mark.parametrize("hastening", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_hastens(start: "Start", hastening: signal.Signals) -> None:
    sample = await start(lame_duck=60)
    sample.signal(signal.SIGTERM)
    while (await sample.client().request("GET", "/ready")).status == 200:
        pass
    sample.signal(hastening)
    assert await sample.ended() == 0


async def test_third_signal_kills(start: "Start") -> None:
    sample = await start(lame_duck=60, shutdown=60)
    stuck = sample.client()
    await stuck.send("POST", "/", later=1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        sample.signal(number)
        await asyncio.sleep(0.05)  # signals of one kind that wait together count once
    assert await stuck.ended()
    assert await sample.ended() == 0


async def test_worker_asked_to_leave_directly_drains_and_is_replaced(start: "Start") -> None:
    sample = await start()
    (pid,) = await sample.pids()
    os.kill(pid, signal.SIGTERM)
    await sample.saying(f"(pid {pid}) died: exit status 0; replacing it")
    client = sample.client()
    assert (await client.request("POST", "/")).json()["pid"] != pid


async def test_workers_die_with_a_killed_parent(start: "Start") -> None:
    sample = await start(workers=2)
    pids = await sample.pids()
    sample.process.kill()
    for pid in pids:
        await gone(pid)


async def test_booting_worker_dies_with_a_killed_parent(start: "Start") -> None:
    sample = await start(ready=False, boot="hang")
    pid = await sample.worker_process()
    sample.process.kill()
    await gone(pid)


async def test_booting_worker_can_be_stopped(start: "Start") -> None:
    sample = await start(ready=False, boot="hang")
    await sample.worker_process()
    sample.signal(signal.SIGINT)
    assert await sample.ended() == 0


async def test_stopping_during_the_check_ends_it(start: "Start") -> None:
    sample = await start(ready=False, check="hang")
    while not sample.children():
        await asyncio.sleep(0.02)
    (pid,) = sample.children()
    sample.signal(signal.SIGTERM)
    assert await sample.ended() == 0
    await gone(pid)
