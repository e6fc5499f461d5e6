"""A worker process: serves the sockets its parent opened, and leaves without losing a request.

`run(build)` is its whole life: build the runners, serve, say ready, wait for the word to leave, be a lame duck, finish
what is in flight. A client on a kept-alive connection learns from `Connection: close` on its next answer that it must
open another, which reaches another worker; services add that header (`Worker.announce_closing`) while `retiring`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from common.supervisor.link import Link
from common.supervisor.serving import Served, Serving, Tls

__all__ = ["Build", "Families", "Served", "Tls", "Worker", "run"]

Families = list[Any]  # as in common.supervisor.metrics
_LOG = logging.getLogger(__name__)


class Worker:
    """What a service may know about its process. `Worker()` alone serves tests: it has no parent and never retires.

    index, count       this worker among its generation, from 0
    listens            the names of the sockets that its parent opened for it
    retiring           leaving, for a reload or for good: answers carry `Connection: close`
    draining           the whole service stops: readiness is false
    retired, closing   events: set when retiring begins; when the lame duck is over and long connections must end
    hastened           event: set when there is no time for a lame duck
    snapshot           set by the service: this process's metric families
    """

    def __init__(
        self,
        *,
        index: int = 0,
        count: int = 1,
        listens: frozenset[str] = frozenset(),
        lame_duck_seconds: float = 5,
        shutdown_seconds: float = 30,
        link: Link | None = None,
    ) -> None:
        self.index = index
        self.count = count
        self.listens = listens
        self.lame_duck_seconds = lame_duck_seconds
        self.shutdown_seconds = shutdown_seconds
        self.retiring = False
        self.draining = False
        self.retired = asyncio.Event()
        self.hastened = asyncio.Event()
        self.closing = asyncio.Event()
        self.snapshot: Callable[[], Families] = list
        self._link = link

    async def merged_metrics(self) -> Families:
        """The families of all workers added up. Raises TimeoutError when the parent is stalled."""
        if self._link is None:
            return self.snapshot()
        families: Families = (await self._link.ask("merge"))["families"]
        return families

    async def status(self) -> list[dict[str, Any]]:
        """All workers: worker, pid, state, restarts, started_at (unix seconds). Empty without a parent."""
        if self._link is None:
            return []
        workers: list[dict[str, Any]] = (await self._link.ask("status"))["workers"]
        return workers

    async def announce_closing(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """For `app.on_response_prepare`: while retiring, every answer ends its connection."""
        del request  # the signal's signature
        if self.retiring and response.status != 101:
            response.force_close()
            # The signal comes after aiohttp has chosen the header.
            response.headers[hdrs.CONNECTION] = "close"

    def retire(self, manner: str) -> None:
        """`reload`: others take over. `drain`: the service stops. `stop`: it stops without the lame duck."""
        self.retiring = True
        self.draining = self.draining or manner != "reload"
        self.retired.set()
        if manner == "stop":
            self.hastened.set()


Build = Callable[[Worker], Awaitable[Served]]


def run(build: Build) -> int:
    """Serves what `build(worker)` answers, listener name → runner not yet set up, until told to leave.

    Raises what `build` or a runner's set-up raises. `build` is cancelled when told to leave before it is done.
    """
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_live(build))


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - there are platforms without it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _live(build: Build) -> int:
    link = await Link.open(int(os.environ["GATEHOUSE_CHANNEL_FD"]))
    worker = Worker(
        index=int(os.environ["GATEHOUSE_WORKER"]),
        count=int(os.environ["GATEHOUSE_WORKERS"]),
        listens=frozenset(_told(os.environ["GATEHOUSE_LISTEN_FDS"])),
        lame_duck_seconds=float(os.environ["GATEHOUSE_LAME_DUCK_SECONDS"]),
        shutdown_seconds=float(os.environ["GATEHOUSE_SHUTDOWN_SECONDS"]),
        link=link,
    )
    loop = asyncio.get_running_loop()
    # Sent to us directly by a service manager that signals the whole group; the parent hears it too.
    loop.add_signal_handler(signal.SIGTERM, worker.retire, "drain")
    loop.add_signal_handler(signal.SIGINT, worker.retire, "stop")
    obeying = asyncio.create_task(_obey(worker, link))
    serving = Serving()
    try:
        if await _boot(build, worker, serving):
            _spare_collections()
            link.send({"op": "ready"})
            await worker.retired.wait()
            await _lame_duck(worker, serving)
    finally:
        worker.closing.set()
        await serving.finish(worker.shutdown_seconds, worker.hastened)
    obeying.cancel()  # the parent closes the channel after our last words; that is not its death
    link.send({"op": "final", "families": worker.snapshot()})
    await link.close()
    return 0


def _spare_collections() -> None:
    """What was made until now stays; of the rest little is cyclic.

    Looking for cycles at every 700th new object took a twentieth of the edge's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _boot(build: Build, worker: Worker, serving: Serving) -> bool:
    """False when told to leave meanwhile."""

    async def start() -> None:
        await serving.start(await build(worker), _sockets(os.environ["GATEHOUSE_LISTEN_FDS"]))

    starting, retired = asyncio.create_task(start()), asyncio.create_task(worker.retired.wait())
    await asyncio.wait([starting, retired], return_when=asyncio.FIRST_COMPLETED)
    retired.cancel()
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return False
    starting.result()
    return True


async def _lame_duck(worker: Worker, serving: Serving) -> None:
    """Time for clients to hear that their connections end."""
    if not worker.draining:
        await serving.stop_accepting()  # the new workers do
    # When the whole service stops, a load balancer must still be able to ask, and hear that we are not ready.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(worker.lame_duck_seconds):
            await worker.hastened.wait()


async def _obey(worker: Worker, link: Link) -> None:
    """The parent's orders. Its end is ours, at once: a worker alone would serve old code for ever."""
    try:
        while (order := await link.receive()) is not None:
            if order["op"] == "retire":
                worker.retire(order["manner"])
            elif order["op"] == "snapshot":
                _answer(worker, link, order["id"])
    except Exception:  # noqa: BLE001 - whatever it was, we cannot be led any more
        _LOG.exception("channel_failed")
    os._exit(1)


def _answer(worker: Worker, link: Link, number: int) -> None:
    try:
        link.send({"op": "snapshot", "id": number, "families": worker.snapshot()})
    except Exception:  # noqa: BLE001 - metrics must not end a worker; the parent goes on with its last answer
        _LOG.exception("snapshot_failed")


def _told(text: str) -> dict[str, int]:
    """`http=3,admin=4` as descriptors by name."""
    pairs = (entry.rpartition("=") for entry in text.split(","))
    return {name: int(fd) for name, _, fd in pairs}


def _sockets(told: str) -> Mapping[str, socket.socket]:
    sockets = {}
    for name, fd in _told(told).items():
        sockets[name] = socket.socket(fileno=fd)
        sockets[name].set_inheritable(False)
        sockets[name].setblocking(False)
    return sockets
