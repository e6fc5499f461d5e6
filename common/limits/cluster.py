"""The store when it is a cluster: every node has a batch and a connection of its own.

A node that is away takes only its own keys into local memory. Where slots went is asked of the nodes after a MOVED
answer, and at every probe while a node is away: a replica that took its place is found so.
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from common.limits.store import Address, Call, NodeRole, Slots, Store
from common.limits.wire import WireError

SLOTS = 16384
_HOPS_MAX = 5


class Cluster:
    """Takes calls as a Store does. `is_down` when no node can be asked, `is_degraded` when one cannot."""

    def __init__(
        self,
        new_store: Callable[..., Store],
        slots: Slots,
        *,
        find_slots: Callable[[], Awaitable[Slots]],
        probe_seconds: float,
        on_back: Callable[[], None],
    ) -> None:
        self._new_store = new_store
        self._find_slots = find_slots
        self._probe_seconds = probe_seconds
        self._on_back = on_back
        self._nodes: dict[Address, Store] = {}
        self._owners: list[Store | None] = [None] * SLOTS
        self._refreshing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self.is_down = False
        self.is_degraded = False
        self._adopt(slots)

    async def open(self) -> None:
        """Connect to every node. One that is away is no error."""
        await asyncio.gather(*(node.open() for node in self._nodes.values()))

    async def close(self) -> None:
        """Disconnect. Open calls are settled with None, and so is every later one."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await asyncio.gather(*(node.close() for node in self._nodes.values()), *self._leaving)

    def submit(self, calls: Sequence[Call]) -> None:
        """Settle each call exactly once, later or at once; those of one node leave in one write."""
        batches: dict[Store, list[Call]] = {}
        for call in calls:
            node = self._owners[slot_of(call.keys[0])]
            if node is None:
                call.settle(None, 0.0)
            else:
                batches.setdefault(node, []).append(call)
        for node, batch in batches.items():
            node.submit(batch)

    def _redirect(self, call: Call, error: str) -> None:
        """Follow `MOVED slot host:port` or `ASK slot host:port`; whatever else it is, local memory answers."""
        kind, slot, target = (*error.split(" "), "", "")[:3]
        hops = call.hops + 1 if isinstance(call, _Redirected) else 1
        host, _, port = target.rpartition(":")
        if kind == "TRYAGAIN" or hops > _HOPS_MAX or not host:
            call.settle(None, 0.0)
            return
        node = self._node((host, int(port)), range(int(slot), int(slot) + 1))
        if kind == "ASK":
            node.submit_asking(_Redirected(call, hops))
            return
        self._owners[int(slot)] = node
        self._refresh_soon()
        node.submit([_Redirected(call, hops)])

    def _node(self, address: Address, slots: range) -> Store:
        node = self._nodes.get(address)
        if node is None:
            role = NodeRole(address, _key_in(slots), self._redirect, self._note)
            node = self._nodes[address] = self._new_store(role=role)
            node.start()  # also where no call goes: it may be the one to say where all others are
        return node

    def _adopt(self, slots: Slots) -> None:
        """Where every slot is now; nodes that have none any more are left."""
        owners: list[Store | None] = [None] * SLOTS
        for first, last, address in slots:
            span = range(first, last + 1)
            owners[first : last + 1] = [self._node(address, span)] * len(span)
        self._owners = owners
        for address in self._nodes.keys() - {address for _, _, address in slots}:
            leaving = asyncio.create_task(self._nodes.pop(address).close())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        self._note()

    def _note(self) -> None:
        """A node went or came back."""
        states = [node.is_down for node in self._nodes.values()]
        was_degraded = self.is_degraded
        self.is_degraded, self.is_down = any(states), all(states)
        if self.is_degraded:
            self._refresh_soon()
        elif was_degraded:
            self._on_back()

    def _refresh_soon(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        """Ask where the slots are, again and again while a node is away."""
        while True:
            if slots := await self._ask_slots():
                self._adopt(slots)
            if not self.is_degraded:
                return
            await asyncio.sleep(self._probe_seconds)

    async def _ask_slots(self) -> Slots:
        for ask in (*(node.slots for node in self._nodes.values()), self._find_slots):
            with suppress(OSError, WireError):
                if slots := await ask():
                    return slots
        return []  # nobody to ask: what is known stays, and each node probes for itself


class _Redirected:
    """A call on its way to another node; no cluster that is sound sends one around for ever."""

    __slots__ = ("_call", "hops", "keys", "packed")

    def __init__(self, call: Call, hops: int) -> None:
        self._call = call
        self.hops = hops
        self.keys = call.keys
        self.packed = call.packed

    def settle(self, reply: list[Any] | None, sent: float) -> None:
        self._call.settle(reply, sent)


def slot_of(key: str) -> int:
    """The slot of a key: CRC16 of its hash tag (the cluster specification, "Key distribution model")."""
    start = key.find("{")
    end = key.find("}", start + 1)
    tag = key[start + 1 : end] if start >= 0 and end > start + 1 else key
    return crc_hqx(tag.encode(), 0) % SLOTS


def _key_in(slots: range) -> str:
    """A key that a node with these slots accepts, to see whether it takes writes."""
    return next(key for key in _probe_keys() if slot_of(key) in slots)


def _probe_keys() -> Iterator[str]:
    number = 0
    while True:
        yield f"gatehouse:limit:{{probe{number}}}"
        number += 1
