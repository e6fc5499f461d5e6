"""The shared store of limits: script.lua on a Valkey or Redis, and knowing when that store is away."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from common.limits.rules import Rule
from common.limits.wire import Wire, WireError, open_wire, pack

SCRIPT = (Path(__file__).parent / "script.lua").read_bytes()
SCRIPT_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
_LOAD = pack("SCRIPT", "LOAD", SCRIPT)
_ASKING = pack("ASKING")
_SLOTS = pack("CLUSTER", "SLOTS")
ELSEWHERE = ("MOVED ", "ASK ", "TRYAGAIN ")  # how a node refuses what it does not keep, or not for long
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


# Host and port of a node of a cluster, and its runs of slots: first, last, whose.
Address = tuple[str, int]
Slots = list[tuple[int, int, Address]]


class Call(Protocol):
    """A packed script call; `settle` takes its reply, or None when the store could not be asked. Times: loop time."""

    @property
    def packed(self) -> bytes: ...
    @property
    def keys(self) -> Sequence[str]: ...
    def settle(self, reply: list[int] | None, sent: float) -> None: ...


class NodeRole(NamedTuple):
    """What makes a store one node of a cluster.

    probe_key   one that it keeps itself
    redirect    takes a call that belongs to another node, with the error that says so
    changed     told whenever `is_down` changes
    """

    address: Address
    probe_key: str
    redirect: Callable[[Call, str], None]
    changed: Callable[[], None]


class Store:
    """Sends batches of calls, each in one round trip. From the first fault until a probe succeeds it `is_down`.

    A fault is a refused or lost connection, an answer that does not come in time, or any error but a missing script.
    A server that turns out to be of a cluster is left at once: `on_cluster` gets its slots and the calls that wait.
    """

    def __init__(
        self,
        client: Redis,
        *,
        timeout_seconds: float,
        connect_seconds: float,
        probe_seconds: float,
        log: FilteringBoundLogger,
        on_back: Callable[[], None] = lambda: None,
        on_cluster: Callable[[Slots, list[Call]], None] | None = None,
        role: NodeRole | None = None,
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = connect_seconds
        self._probe_seconds = probe_seconds
        self._log = log if role is None else log.bind(node=f"{role.address[0]}:{role.address[1]}")
        self._on_back = on_back
        self._on_cluster = on_cluster
        self._role = role
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[Call] = []  # until the batch before is answered, or it is known whether the store is there
        self._unanswered = 0  # batches
        self._known = asyncio.Event()
        self.is_down = False

    @property
    def is_degraded(self) -> bool:
        return self.is_down

    async def open(self) -> None:
        """Connect now rather than at the first batch. A store that is away is no error: it is down and probed for."""
        self.start()
        await self._known.wait()

    def start(self) -> None:
        """The same without waiting."""
        if self._wire is None and self._connecting is None:
            self._connect_soon(0)

    def submit(self, calls: Sequence[Call]) -> None:
        """Settle each call exactly once, later or (while down) at once.

        What comes while a batch is on its way goes together when that is answered: the busier, the larger the batches.
        """
        if self.is_down:
            _settle_none(calls)
        elif self._wire is not None and not self._unanswered:
            self._send(self._wire, calls)
        else:
            self._waiting += calls
            self.start()

    def submit_asking(self, call: Call) -> None:
        """A call whose slot is moving here: it says that it was sent."""
        if self._wire is not None:
            self._send(self._wire, [call], _ASKING)
        else:
            call.settle(None, 0.0)

    async def slots(self) -> Slots:
        """Where this node sees the cluster's slots; empty when it cannot be asked."""
        if self._wire is None:
            return []
        (reply,) = await self._wire.exchange(_SLOTS, 1)
        return read_slots(reply, self._host)

    @property
    def _host(self) -> str:
        return self._role.address[0] if self._role else self._client.connection_pool.connection_kwargs.get("host", "")

    async def close(self) -> None:
        """Disconnect. Open calls are settled with None, and so is every later one."""
        self.is_down = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._wire is not None:
            wire, self._wire = self._wire, None
            wire.on_lost = None
            wire.close("closed")
        self._settle_waiting()

    def _connect_soon(self, delay_seconds: float) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect_until_up(delay_seconds))

    async def _connect_until_up(self, delay_seconds: float) -> None:
        while True:
            await asyncio.sleep(delay_seconds)
            try:
                wire, slots = await self._connect()
                if slots and self._on_cluster is not None:
                    self._leave_to_cluster(wire, slots, self._on_cluster)
                else:
                    self._come_up(wire)
                return
            except Exception as error:  # noqa: BLE001  # whatever it is, limits go on from memory; it is logged
                self._go_down(str(error) or type(error).__name__)
            delay_seconds = self._probe_seconds

    async def _connect(self) -> tuple[Wire, Slots]:
        """A connection on which the script is loaded and writes are accepted; the slots, if it is of a cluster."""
        key, address = (self._role.probe_key, self._role.address) if self._role else (_PREFIX + "{probe}", None)
        async with asyncio.timeout(self._connect_seconds):
            wire = await open_wire(self._client, self._timeout_seconds, address)
            try:
                replies = await wire.exchange(_SLOTS + _LOAD + pack("SET", key, "", "PX", 1000), 3)
                slots = read_slots(replies[0], self._host)
                _require_usable(replies[1:], of_cluster=bool(slots))
            except BaseException:
                wire.close("not usable")
                raise
            return wire, slots

    def _leave_to_cluster(self, wire: Wire, slots: Slots, on_cluster: Callable[[Slots, list[Call]], None]) -> None:
        wire.close("a cluster has a connection to each node")
        self._connecting = None
        if self.is_down:
            self._log.info("limits_store_back")
            self._on_back()
        waiting, self._waiting = self._waiting, []
        on_cluster(slots, waiting)
        self._known.set()

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
            self._tell()
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._waiting and self._wire is not None and not self._unanswered:
            waiting, self._waiting = self._waiting, []
            self._send(self._wire, waiting)

    def _go_down(self, reason: str) -> None:
        if not self.is_down:
            self.is_down = True
            self._log.warning("limits_store_down", reason=reason)
            self._tell()
        self._known.set()
        self._settle_waiting()

    def _tell(self) -> None:
        if self._role is not None:
            self._role.changed()

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

    def _send(self, wire: Wire, calls: Sequence[Call], lead: bytes = b"") -> None:
        """`lead` is a command to send before, whose reply is nobody's."""
        self._unanswered += 1
        packed = b"".join([call.packed for call in calls])
        receiver = partial(self._receive, calls, wire.now(), lead)
        if lead:
            wire.send(lead + packed, len(calls) + 1, receiver)
        else:
            wire.send(packed, len(calls), receiver)

    def _receive(self, calls: Sequence[Call], sent: float, lead: bytes, replies: list[Any] | None) -> None:
        self._unanswered -= 1
        if replies is None:
            _settle_none(calls)
        else:
            self._take(calls, sent, lead, replies)
        self._send_waiting()

    def _take(self, calls: Sequence[Call], sent: float, lead: bytes, replies: list[Any]) -> None:
        missing = self._settle(calls, sent, replies[1:] if lead else replies)
        if missing and lead != _LOAD and self._wire is not None:
            self._send(self._wire, missing, _LOAD)
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
            elif self._role is not None and str(reply).startswith(ELSEWHERE):
                self._role.redirect(call, str(reply))
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


async def find_slots(client: Redis, timeout_seconds: float, connect_seconds: float) -> Slots:
    """The slots as whatever `client` leads to sees them. Raises OSError, WireError."""
    async with asyncio.timeout(connect_seconds):
        wire = await open_wire(client, timeout_seconds)
        try:
            (reply,) = await wire.exchange(_SLOTS, 1)
        finally:
            wire.close("asked")
    return read_slots(reply, client.connection_pool.connection_kwargs.get("host", ""))


def read_slots(reply: Any, host: str) -> Slots:
    """The answer to CLUSTER SLOTS; empty where it is an error. `host` stands for a node that does not know its own."""
    if not isinstance(reply, list):
        return []
    return [(first, last, ((owner[0] or b"").decode() or host, owner[1])) for first, last, owner, *_ in reply]


def _require_usable(replies: Sequence[Any], *, of_cluster: bool) -> None:
    """Raises WireError. A node whose probed slot has gone elsewhere can be used for the others."""
    for reply in replies:
        if isinstance(reply, Exception) and not (of_cluster and str(reply).startswith(ELSEWHERE)):
            raise WireError(str(reply))
