"""New workers for old a hundred times, workers told to leave, workers killed: who loses a request?"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ops.bench.peers import edge
from ops.bench.processes import NotStarted, Running
from ops.bench.report import Goal, Section
from ops.bench.setting import bench
from ops.edge_admin import ask
from ops.soak.clients import Client, Tally
from ops.stack.errors import StackError
from ops.stack.place import Place

_RELOADS, _TERMS, _KILLS = 100, 20, 20
_CLIENTS, _WORKERS = 16, 2
_WAIT_SECONDS = 90
_POLL_SECONDS = 0.02
_SETTINGS = {"EDGE_WORKERS": str(_WORKERS), "LAME_DUCK_SECONDS": "0.5"}


def run() -> Iterator[Section]:
    with bench(rounds=1, seconds=1) as given:
        setting = given.setting("edge")
        with edge.run(setting, **_SETTINGS) as running:
            place = Place(setting.folder / "var")
            experiment = _Experiment(running, place, setting.access_log, f"Bearer {given.issuer.token('EdDSA')}")
            yield asyncio.run(experiment.run())


class _Experiment:
    def __init__(self, running: Running, place: Place, log: Path, authorization: str) -> None:
        self._running = running
        self._place = place
        self._log = log
        self._authorization = authorization
        self._section = Section(
            f"Workers come and go under {_CLIENTS} connections of GET and POST",
            ("what", "times", "seconds", "requests", "failed"),
        )

    async def run(self) -> Section:
        await self._under_load("reload (HUP)", _RELOADS, self._reload)
        await self._under_load("a worker is told to leave (TERM)", _TERMS, self._tell_to_leave)
        await self._kill_under_load()
        return self._section

    async def _under_load(self, what: str, times: int, act: Callable[[], Awaitable[None]]) -> None:
        tally, started = await self._loaded(times, act)
        self._note(what, times, started, tally)
        self._section.goals.append(Goal(f"{what}: 0 failed", _shown(tally), tally.failed == 0))

    async def _kill_under_load(self) -> None:
        held: set[int] = set()

        async def kill() -> None:
            held.update(await self._kill())

        tally, started = await self._loaded(_KILLS, kill)
        self._note("a worker is killed (kill -9)", _KILLS, started, tally)
        others = [why for port, why in tally.lost if port not in held]
        wrong = {status: count for status, count in tally.answered.items() if status != 200}
        text = "a killed worker takes along only what it held"
        shown = f"{len(tally.lost)} lost of it, {len(others)} others" + (f", {wrong}" if wrong else "")
        self._section.goals.append(Goal(text, shown, not others and not wrong))

    async def _loaded(self, times: int, act: Callable[[], Awaitable[None]]) -> tuple[Tally, float]:
        tally, over, started = Tally(), asyncio.Event(), time.monotonic()
        clients = [Client(self._running.port, self._authorization, tally) for _ in range(_CLIENTS)]
        tasks = [asyncio.create_task(client.follow(over)) for client in clients]
        try:
            for _ in range(times):
                await act()
        finally:
            over.set()
            await asyncio.gather(*tasks)
        return tally, started

    def _note(self, what: str, times: int, started: float, tally: Tally) -> None:
        requests = sum(tally.answered.values()) + len(tally.lost)
        row = (what, str(times), f"{time.monotonic() - started:.0f}", str(requests), str(tally.failed))
        self._section.rows.append(row)

    async def _reload(self) -> None:
        """Until new workers serve and the old ones have gone."""
        before, said = set(self._workers()), self._ready()
        os.kill(self._running.pid, signal.SIGHUP)
        await _until(lambda: self._ready() > said and not before & set(self._workers()), "a reload")

    async def _tell_to_leave(self) -> None:
        await self._replaced(self._victim(), signal.SIGTERM)

    async def _kill(self) -> set[int]:
        """The clients' own ports of what the victim held. It is stopped first: what it holds does not change then."""
        victim = self._victim()
        await _until(lambda: bool(self._held(victim)), "a client at the victim")
        os.kill(victim, signal.SIGSTOP)
        held = self._held(victim)
        await self._replaced(victim, signal.SIGKILL)
        return held

    async def _replaced(self, victim: int, number: signal.Signals) -> None:
        os.kill(victim, number)
        await _until(lambda: self._all_serve(without=victim), "a worker in its place")

    def _held(self, worker: int) -> set[int]:
        connections = psutil.Process(worker).net_connections("tcp")
        return {one.raddr.port for one in connections if one.raddr and one.laddr.port == self._running.port}

    def _victim(self) -> int:
        """The eldest, so that each has its turn."""
        return min(self._workers(), key=lambda pid: psutil.Process(pid).create_time())

    def _workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self._running.pid).children() if child.status() != "zombie"]

    def _all_serve(self, *, without: int) -> bool:
        states = {worker["pid"]: worker["state"] for worker in ask(self._place, "GET", "/workers")["items"]}
        return without not in states and list(states.values()).count("ready") == _WORKERS

    def _ready(self) -> int:
        return self._log.read_bytes().count(b"edge: ready (")


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not await asyncio.to_thread(_holds, condition):
        if time.monotonic() > deadline:
            raise NotStarted(f"{what} did not come within {_WAIT_SECONDS} s")
        await asyncio.sleep(_POLL_SECONDS)


def _holds(condition: Callable[[], bool]) -> bool:
    """A process may end while it is looked at, or asked."""
    with suppress(psutil.NoSuchProcess, StackError):
        return condition()
    return False


def _shown(tally: Tally) -> str:
    wrong = {status: count for status, count in tally.answered.items() if status != 200}
    return f"{tally.failed} failed" + (f": {wrong} {tally.lost[:3]}" if tally.failed else "")
