"""Starting, replacing and reloading workers: real processes, real sockets."""

import asyncio
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Start


def connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def test_workers_share_one_socket(start: "Start") -> None:
    sample = await start(workers=2)
    pids = await sample.pids()
    assert list(pids.values()) == ["ready", "ready"]
    answering: set[int] = set()
    while answering != set(pids):  # the kernel decides who accepts; bounded by the test's time-out
        client = sample.client()
        answering.add((await client.request("POST", "/")).json()["pid"])
        client.close()


async def test_parent_stays_lean(start: "Start") -> None:
    # Measured without the coverage tool, which has a weight of its own.
    sample = await start(environ={"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""})
    sizes = dict(
        line.split()[:2] for line in Path(f"/proc/{sample.process.pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    assert int(sizes["Pss:"]) <= 15_000


async def test_killed_worker_is_replaced_and_others_unaffected(start: "Start") -> None:
    sample = await start(workers=2)
    client = sample.client()
    survivor = (await client.request("POST", "/")).json()["pid"]
    (victim,) = set(await sample.pids()) - {survivor}
    os.kill(victim, signal.SIGKILL)
    await sample.saying(f"(pid {victim}) died: killed by SIGKILL; replacing it\n")
    while list((await sample.pids()).values()) != ["ready", "ready"]:
        assert (await client.request("POST", "/")).json()["pid"] == survivor
    restarts = {worker["pid"]: worker["restarts"] for worker in (await client.request("GET", "/status")).json()}
    assert restarts.pop(survivor) == 0
    assert list(restarts.values()) == [1]


async def test_worker_that_keeps_dying_is_replaced_with_growing_delay(start: "Start") -> None:
    sample = await start()
    for delay in ("replacing it\n", "replacing it in 0.1 s\n", "replacing it in 0.2 s\n"):
        (pid,) = await sample.pids()
        os.kill(pid, signal.SIGKILL)
        await sample.saying(f"(pid {pid}) died: killed by SIGKILL; {delay}")


async def test_reloads_under_load_lose_no_request(start: "Start") -> None:
    sample = await start(workers=2, version="0")
    lost: list[BaseException] = []
    answered: Counter[str] = Counter()
    over = asyncio.Event()

    async def load(number: int) -> None:
        client, count = sample.client(), 0
        while not over.is_set():
            text = f"{number}-{(count := count + 1)}"
            try:
                answer = (await client.request("POST", "/", text.encode())).json()
                assert answer["echo"] == text
                answered[answer["version"]] += 1
            except (OSError, EOFError, AssertionError) as error:
                lost.append(error)
                client.close()

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(load(number))
        for version in range(1, 4):
            old = await sample.pids()
            sample.configure(version=str(version))
            sample.signal(signal.SIGHUP)
            await sample.saying("sample: ready", times=version + 1)
            while set(await sample.pids()) & set(old):
                await asyncio.sleep(0.05)  # nobody tells when the last old worker has gone
        over.set()
    assert lost == []
    assert set(answered) == {"0", "1", "2", "3"}


async def test_reload_with_bad_settings_keeps_the_old_and_says_why(start: "Start") -> None:
    sample = await start(version="old")
    pids = await sample.pids()
    sample.configure(faults=["SAMPLE_PORT is a colour", "SAMPLE_HOST is missing"], version="new")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: not reloaded, the old workers stay: its settings or its code are refused")
    assert "sample: SAMPLE_PORT is a colour\nsample: SAMPLE_HOST is missing\n" in sample.said
    assert await sample.pids() == pids
    assert (await sample.client().request("POST", "/")).json()["version"] == "old"


async def test_reload_whose_workers_cannot_boot_keeps_the_old(start: "Start") -> None:
    sample = await start(workers=2)
    pids = await sample.pids()
    sample.configure(boot="fail")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: not reloaded, the old workers stay: worker")
    assert "sample: the sample does not want to boot" in sample.said
    while await sample.pids() != pids:
        await asyncio.sleep(0.05)  # until the other new worker has gone


async def test_reload_during_a_reload_is_not_forgotten(start: "Start") -> None:
    sample = await start(version="1")
    sample.configure(boot="fail")
    sample.signal(signal.SIGHUP)
    while len(sample.children()) == 1:
        await asyncio.sleep(0.02)  # two signals of one kind that wait together count once
    sample.signal(signal.SIGHUP)
    await sample.saying("not reloaded", times=2)


async def test_reload_moves_to_another_port_and_worker_count(start: "Start") -> None:
    sample = await start(workers=2)
    old = sample.port
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        sample.port = reserved.getsockname()[1]
    sample.configure(port=sample.port, workers=1)
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    assert list((await sample.pids()).values()).count("ready") == 1
    while connects(old):
        await asyncio.sleep(0.02)  # until the old workers have stopped accepting


async def test_reload_to_a_taken_port_keeps_the_old(start: "Start") -> None:
    sample = await start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sample.configure(port=port)
        sample.signal(signal.SIGHUP)
        await sample.saying(f"the old workers stay: port {port} on 127.0.0.1 is already in use")
    assert list((await sample.pids()).values()) == ["ready"]


async def test_worker_that_cannot_boot_ends_the_first_start(start: "Start") -> None:
    sample = await start(ready=False, workers=2, boot="fail")
    assert await sample.ended() == 1
    assert "sample: the sample does not want to boot\n" in sample.said
    assert "could not start: exit status 1" in sample.said or "died: exit status 1" in sample.said
    assert not connects(sample.port)


async def test_refused_settings_end_the_first_start_without_traceback(start: "Start") -> None:
    sample = await start(ready=False, faults=["SAMPLE_PORT is a colour", "SAMPLE_HOST is missing"])
    assert await sample.ended() == 1
    assert sample.said == "sample: SAMPLE_PORT is a colour\nsample: SAMPLE_HOST is missing\n"


async def test_defect_in_the_check_shows_where_it_is(start: "Start") -> None:
    sample = await start(ready=False, faults=[1])
    assert await sample.ended() == 1
    assert "Traceback" in sample.said
    assert 'raise SampleError("\\n".join(faults))' in sample.said


async def test_taken_port_is_one_sentence(start: "Start") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sample = await start(ready=False, port=port)
        assert await sample.ended() == 1
    assert sample.said == f"sample: port {port} on 127.0.0.1 is already in use; set SAMPLE_PORT to another\n"


@pytest.mark.parametrize("has_uvloop", [True, False])
async def test_unix_socket_is_private_survives_reloads_and_is_removed_at_the_end(
    start: "Start", tmp_path: Path, has_uvloop: bool
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    environ = {} if has_uvloop else {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent}"}
    path = tmp_path / "run" / "admin.sock"
    sample = await start(admin=str(path), environ=environ)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await sample.client(str(path)).request("GET", "/ready")).status == 200
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    assert (await sample.client(str(path)).request("GET", "/ready")).status == 200
    sample.signal(signal.SIGINT)
    assert await sample.ended() == 0
    assert not path.exists()
