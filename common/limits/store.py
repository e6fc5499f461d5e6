"""The shared store of limits: script.lua on a Valkey or Redis, and knowing when that store is away."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from common.limits.rules import Rule
from common.limits.wire import Wire, WireError, open_wire, pack

SCRIPT = (Path(__file__).parent / "script.lua").read_bytes()
SCRIPT_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
_LOAD = pack("SCRIPT", "LOAD", SCRIPT)
_PREFIX = "gatehouse:limit:"


def list_keys(subject: str, rules: Sequence[Rule]) -> list[str]:
    """The key of each rule's list. One hash tag for all, so that a cluster keeps them on one node."""
    if not subject or subject[0] == "}":
        raise ValueError(f"no hash tag can be made of the subject {subject!r}")
    tag = f"{_PREFIX}{{{subject}}}"
    return [tag + rule.suffix for rule in rules]


def script_call(keys: Sequence[str], rules: Sequence[Rule]) -> bytes:
    """The packed command that checks `rules` on their `keys`."""
    arguments = [argument for rule in rules for argument in rule.arguments]
    return pack("EVALSHA", SCRIPT_SHA, len(keys), *keys, *arguments)


class Call(Protocol):
    """A packed script call; `settle` takes its reply, or None when the store could not be asked. Times: loop time."""

    packed: bytes

    def settle(self, reply: list[int] | None, sent: float) -> None: ...


class Store:
    """Sends batches of calls, each in one round trip. From the first fault until a probe succeeds it `is_down`.

    A fault is a refused or lost connection, an answer that does not come in time, or any error but a missing script.
    """

    def __init__(
        self,
        client: Redis,
        *,
        timeout_seconds: float,
        connect_seconds: float,
        probe_seconds: float,
        log: FilteringBoundLogger,
        on_back: Callable[[], None],
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = connect_seconds
        self._probe_seconds = probe_seconds
        self._log = log
        self._on_back = on_back
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[Call] = []  # until it is known whether the store is there
        self._known = asyncio.Event()
        self.is_down = False

    async def open(self) -> None:
        """Connect now rather than at the first batch. A store that is away is no error: it is down and probed for."""
        if self._wire is None and self._connecting is None:
            self._connect_soon(0)
        await self._known.wait()

    def submit(self, calls: Sequence[Call]) -> None:
        """Settle each call exactly once, later or (while down) at once."""
        if self.is_down:
            _settle_none(calls)
        elif self._wire is not None:
            self._send(self._wire, calls)
        else:
            self._waiting += calls
            if self._connecting is None:
                self._connect_soon(0)

    async def close(self) -> None:
        """Disconnect. Open calls are settled with None, and so is every later one."""
        self.is_down = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._wire is not None:
            self._wire.on_lost = None
            self._wire.close("closed")
            self._wire = None
        self._settle_waiting()

    def _connect_soon(self, delay_seconds: float) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect_until_up(delay_seconds))

    async def _connect_until_up(self, delay_seconds: float) -> None:
        while True:
            await asyncio.sleep(delay_seconds)
            try:
                self._come_up(await self._connect())
                return
            except Exception as error:  # noqa: BLE001  # whatever it is, limits go on from memory; it is logged
                self._go_down(str(error) or type(error).__name__)
            delay_seconds = self._probe_seconds

    async def _connect(self) -> Wire:
        """A connection on which the script is loaded and writes are accepted."""
        async with asyncio.timeout(self._connect_seconds):
            wire = await open_wire(self._client, self._timeout_seconds)
            try:
                await wire.ask(("SCRIPT", "LOAD", SCRIPT), ("SET", _PREFIX + "{probe}", "", "PX", 1000))
            except BaseException:
                wire.close("not usable")
                raise
            return wire

    def _come_up(self, wire: Wire) -> None:
        if not wire.is_open:
            raise WireError("lost as soon as connected")
        wire.on_lost = self._lost
        self._wire, self._connecting = wire, None
        self._known.set()
        if self.is_down:
            self.is_down = False
            self._log.info("limits_store_back")
            self._on_back()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._send(wire, waiting)

    def _go_down(self, reason: str) -> None:
        if not self.is_down:
            self.is_down = True
            self._log.warning("limits_store_down", reason=reason)
        self._known.set()
        self._settle_waiting()

    def _fail(self, reason: str) -> None:
        """The store answers, but not as it should."""
        self._go_down(reason)
        if self._wire is not None:
            self._wire.close(reason)

    def _lost(self, reason: str, had_calls: bool) -> None:
        """An idle connection that ends is opened again at once; one that took calls with it is a fault."""
        self._wire = None
        if had_calls:
            self._go_down(reason)
        self._connect_soon(self._probe_seconds if self.is_down else 0)

    def _send(self, wire: Wire, calls: Sequence[Call], *, load: bool = False) -> None:
        packed = b"".join([call.packed for call in calls])
        receiver = partial(self._receive, calls, wire.now(), load)
        if load:
            wire.send(_LOAD + packed, len(calls) + 1, receiver)
        else:
            wire.send(packed, len(calls), receiver)

    def _receive(self, calls: Sequence[Call], sent: float, loaded: bool, replies: list[Any] | None) -> None:
        if replies is None:
            _settle_none(calls)
            return
        missing = self._settle(calls, sent, replies[1:] if loaded else replies)
        if missing and not loaded and self._wire is not None:
            self._send(self._wire, missing, load=True)
        elif missing:
            self._fail(f"the script cannot be loaded: {replies[0]}")
            _settle_none(missing)

    def _settle(self, calls: Sequence[Call], sent: float, replies: list[Any]) -> list[Call]:
        """Settle the calls that have an answer or a fault; those returned found no script."""
        missing = []
        for call, reply in zip(calls, replies, strict=True):
            if type(reply) is list:
                call.settle(reply, sent)
            elif str(reply).startswith("NOSCRIPT"):
                missing.append(call)
            else:
                self._fail(str(reply))
                call.settle(None, sent)
        return missing

    def _settle_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        _settle_none(waiting)


def _settle_none(calls: Sequence[Call]) -> None:
    for call in calls:
        call.settle(None, 0.0)
