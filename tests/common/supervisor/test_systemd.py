"""Inherited sockets and notifications, as systemd would give and take them."""

import asyncio
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Start

# What systemd does between fork and exec: our listening socket becomes descriptor 3.
_LAUNCH = """
import os, sys
os.dup2({fd}, 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="{name}")
os.execv(sys.executable, [sys.executable, "-m", "sample"])
"""


async def _activated(start: "Start", name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        launcher = ("-c", _LAUNCH.format(fd=listening.fileno(), name=name))
        sample = await start(launcher=launcher, inherit=(listening.fileno(),), port=1, version="activated")
        client = sample.client(listening.getsockname()[1])
        assert (await client.request("POST", "/")).json()["version"] == "activated"
        sample.signal(signal.SIGHUP)
        await sample.saying("sample: ready", times=2)
        await client.request("POST", "/")
        client = sample.client(listening.getsockname()[1])
        assert (await client.request("GET", "/ready")).json() == {"retiring": False}
        sample.signal(signal.SIGINT)
        assert await sample.ended() == 0


async def test_socket_named_after_a_listener_is_used(start: "Start") -> None:
    await _activated(start, "http")


async def test_socket_with_the_units_name_is_used_in_order(start: "Start") -> None:
    await _activated(start, "sample.socket")


async def test_service_manager_hears_ready_reloading_stopping(start: "Start", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        sample = await start(environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        sample.signal(signal.SIGHUP)
        await sample.saying("sample: ready", times=2)
        sample.signal(signal.SIGTERM)
        assert await sample.ended() == 0
        loop = asyncio.get_running_loop()
        heard = [(await loop.sock_recv(manager, 200)).decode() for _ in range(4)]
    said = f"ready (1 worker; http 127.0.0.1:{sample.port})"
    assert heard[0] == f"READY=1\nSTATUS=reload 0: {said}"
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=reload 1 is under way", heard[1])
    assert heard[2:] == [f"READY=1\nSTATUS=reload 1: {said}", "STOPPING=1"]


async def test_service_manager_hears_why_a_reload_was_refused(start: "Start", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        sample = await start(environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        sample.configure(faults=["COLOUR: must be set"])
        sample.signal(signal.SIGHUP)
        await sample.saying("sample: not reloaded")
        loop = asyncio.get_running_loop()
        heard = [(await loop.sock_recv(manager, 200)).decode() for _ in range(3)]
    assert heard[2] == (
        "READY=1\nSTATUS=reload 1: not reloaded, the old workers stay: its settings or its code are refused"
    )


async def test_service_manager_that_wants_signs_of_life_gets_them(start: "Start", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        wanted = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        starting = asyncio.create_task(start(environ=wanted))
        loop, heard = asyncio.get_running_loop(), []
        async with asyncio.timeout(15):
            while "WATCHDOG=1" not in heard or not heard[-1].startswith("READY=1"):
                heard.append((await loop.sock_recv(manager, 200)).decode())
            assert await loop.sock_recv(manager, 200) == b"WATCHDOG=1", "before it is ready and after"
        (worker,) = await (await starting).pids()
        assert b"WATCHDOG" not in Path(f"/proc/{worker}/environ").read_bytes(), "it is asked of the parent alone"


async def test_signs_of_life_asked_of_another_process_are_not_ours(start: "Start", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        wanted = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
        sample = await start(environ=wanted)
        sample.signal(signal.SIGINT)
        assert await sample.ended() == 0
        loop = asyncio.get_running_loop()
        heard = [(await loop.sock_recv(manager, 200)).decode() for _ in range(2)]
    assert [said.partition("\n")[0] for said in heard] == ["READY=1", "STOPPING=1"]
