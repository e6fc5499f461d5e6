"""Exact limits for a service: one round trip per event-loop turn, local memory when the store is away."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from common.limits.cluster import Cluster
from common.limits.denials import Denials
from common.limits.memory import MemoryLists
from common.limits.rules import MICROSECONDS, Decision, Rule, answers, decide
from common.limits.store import Call, Slots, Store, find_slots, list_keys, script_call
from common.limits.wire import pack

_FORGET = b"redis.call('DEL', unpack(KEYS)) return {}"


_PREPARED_MAX = 20_000  # about 10 MB


@dataclass(slots=True)
class Counts:
    """Of one rule name, since the process began. Every rule counts the calls it admitted, the one shown the others."""

    allowed: int = 0
    denied: int = 0  # in all, the next included
    denied_locally: int = 0  # from a remembered refusal, without asking the store
    fallback: int = 0  # decided in local memory because the store was away


class Limiter:
    """Checks calls against rules; see the package for what is exact and when.

    `client` tells where the store is; None keeps all limits in this process's memory. `processes` is the number of
    workers that share the load: each enforces its part of a limit while the store is away.
    `clock` gives unix seconds (local memory only; the store counts by its own clock).
    """

    def __init__(
        self,
        client: Redis | None,
        *,
        processes: int,
        timeout_seconds: float = 0.2,
        connect_seconds: float = 0.5,
        probe_seconds: float = 1.0,
        clock: Callable[[], float] = time.time,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        self._processes = max(1, processes)
        self._clock = clock
        self._memory = MemoryLists()
        self._denials = Denials()
        self._pending: list[_Call] = []
        # By subject and the identity of the rules: the same callers come again and again under the same routes.
        self._prepared: dict[tuple[str, int], _Prepared] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.counts: defaultdict[str, Counts] = defaultdict(Counts)
        self._store: Store | Cluster | None = None
        if client is not None:
            new_store = partial(
                Store,
                client,
                timeout_seconds=timeout_seconds,
                connect_seconds=connect_seconds,
                probe_seconds=probe_seconds,
                log=log or structlog.get_logger(),
            )
            new_cluster = partial(
                Cluster,
                new_store,
                find_slots=partial(find_slots, client, timeout_seconds, connect_seconds),
                probe_seconds=probe_seconds,
                on_back=self._memory.clear,
            )
            self._store = new_store(on_back=self._memory.clear, on_cluster=partial(self._become_cluster, new_cluster))

    @property
    def degraded(self) -> bool:
        """Whether the store is away, so that limits are approximate. False without a store by choice."""
        return self._store is not None and self._store.is_degraded

    async def open(self) -> None:
        """Connect now rather than at the first check. A store that is away raises nothing."""
        while (store := self._store) is not None:
            await store.open()
            if store is self._store:  # else it was one node of a cluster
                return

    async def close(self) -> None:
        """Leave the store; checks under way are answered from memory. The client stays its owner's to close."""
        if self._store is not None:
            await self._store.close()

    async def check(self, subject: str, rules: Sequence[Rule]) -> Decision:
        """Admit or refuse one call of `subject` ("user:…", "address:…") under all `rules` together.

        A refused call counts in no rule, an admitted one in every rule at its cost. Raises ValueError for no rules, one
        list twice or an empty subject; never for the store.
        """
        prepared = self._prepared.get((subject, id(rules)))
        if prepared is None or prepared.rules is not rules:
            prepared = self._prepare(subject, rules)
        keys = prepared.keys
        if len(self._denials) and (refusal := self._remembered(keys, rules)) is not None:
            return refusal
        if self._store is None or self._store.is_down:
            return self._check_memory(keys, rules, degraded=self.degraded)
        return await self._ask(prepared)

    def _prepare(self, subject: str, rules: Sequence[Rule]) -> "_Prepared":
        keys = list_keys(subject, rules)
        if not keys or (len(keys) > 1 and len(set(keys)) < len(keys)):
            raise ValueError("a check needs rules, each of its own name or scope")
        if len(self._prepared) >= _PREPARED_MAX:
            self._prepared.clear()  # start again rather than grow
        prepared = self._prepared[subject, id(rules)] = _Prepared(keys, rules, script_call(keys, rules))
        return prepared

    def watch(self, subject: str, rules: Sequence[Rule], tell: Callable[[Decision], None]) -> None:
        """A check that nobody waits for: `tell` gets its decision, at once or when the store has answered."""
        keys = list_keys(subject, rules)
        if len(self._denials) and (refusal := self._remembered(keys, rules)) is not None:
            tell(refusal)
        elif self._store is None or self._store.is_down:
            tell(self._check_memory(keys, rules, degraded=self.degraded))
        else:
            asked = self._ask(_Prepared(keys, rules, script_call(keys, rules)))
            asked.add_done_callback(lambda decision: tell(decision.result()))

    async def run(self, script: bytes, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> list[Any] | None:
        """The list that another script answers, run where the limits are; None when the store is away.

        All keys share one hash tag, as in a check. A script that fails counts as a store that is away.
        """
        if self._store is None or self._store.is_down:
            return None
        call = _Script(
            asyncio.get_running_loop().create_future(), keys, pack("EVAL", script, len(keys), *keys, *arguments)
        )
        self._store.submit([call])
        return await call.reply

    async def forget(self, subject: str, rules: Sequence[Rule]) -> None:
        """Count from nothing for `subject`. Other processes may remember a refusal for a minute at most."""
        keys = list_keys(subject, rules)
        for key in keys:
            self._memory.forget(key)
            self._denials.forget(key)
        await self.run(_FORGET, keys, ())

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        # Once: before Python 3.12 it costs a system call.
        self._loop = asyncio.get_running_loop()
        return self._loop

    def remembered(self, subject: str, rules: Sequence[Rule]) -> Decision | None:
        """A refusal that is known without asking, None otherwise. Counts nothing as a call."""
        return self._remembered(list_keys(subject, rules), rules) if len(self._denials) else None

    def _ask(self, prepared: "_Prepared") -> "asyncio.Future[Decision]":
        """The decision to come; the call leaves with all others of this turn."""
        loop = self._loop or self._find_loop()
        call = _Call(self, prepared, loop.create_future())
        self._pending.append(call)
        if len(self._pending) == 1:
            loop.call_soon(self._flush)
        return call.decision

    def _flush(self) -> None:
        """Send what this turn of the event loop has gathered. A caller that has gone meanwhile is not counted."""
        pending, self._pending = self._pending, []
        calls = [call for call in pending if not call.decision.done()]
        if calls and self._store is not None:
            self._store.submit(calls)

    def _become_cluster(self, new_cluster: Callable[[Slots], Cluster], slots: Slots, waiting: list[Call]) -> None:
        """What was taken for the store is a node of a cluster; `waiting` are the calls that it was given."""
        self._store = cluster = new_cluster(slots)
        cluster.submit(waiting)

    def _remembered(self, keys: Sequence[str], rules: Sequence[Rule]) -> Decision | None:
        """The refusal among the remembered ones that lasts longest."""
        now = asyncio.get_running_loop().time()
        found = [
            (denial.free_at, denial.decision(rule, now))
            for key, rule in zip(keys, rules, strict=True)
            if (denial := self._denials.find(key, rule, now)) is not None
        ]
        if not found:
            return None
        refusal = max(found)[1]
        counts = self.counts[refusal.rule]
        counts.denied += 1
        counts.denied_locally += 1
        return refusal

    def _check_memory(self, keys: Sequence[str], rules: Sequence[Rule], *, degraded: bool) -> Decision:
        """The same rules in this worker alone, with its part of each limit."""
        limits = [max(1, rule.limit // self._processes) if rule.is_divided else rule.limit for rule in rules]
        checks = [
            (key, limit, rule.window, min(rule.cost, limit))
            for key, rule, limit in zip(keys, rules, limits, strict=True)
        ]
        reply = self._memory.check(checks, int(self._clock() * MICROSECONDS))
        decision = decide(rules, reply, limits, degraded=degraded)
        self._count(decision, rules)
        return decision

    def _count(self, decision: Decision, rules: Sequence[Rule]) -> None:
        if decision.allowed:
            for rule in rules:
                self.counts[rule.name].allowed += 1
        else:
            self.counts[decision.rule].denied += 1
        if decision.degraded:
            self.counts[decision.rule].fallback += 1

    def _answer(self, prepared: "_Prepared", reply: list[int] | None, sent: float) -> Decision:
        keys, rules = prepared.keys, prepared.rules
        if reply is None:
            return self._check_memory(keys, rules, degraded=True)
        decision = decide(rules, reply, [rule.limit for rule in rules], degraded=False)
        self._count(decision, rules)
        if not decision.allowed:
            received = asyncio.get_running_loop().time()
            for key, rule, answer in zip(keys, rules, answers(reply), strict=True):
                if answer.wait:
                    self._denials.remember(key, rule, answer, clock=reply[1], sent=sent, received=received)
        return decision


class _Script:
    """Another script on its way to the store."""

    __slots__ = ("keys", "packed", "reply")

    def __init__(self, reply: "asyncio.Future[list[Any] | None]", keys: Sequence[str], packed: bytes) -> None:
        self.keys = keys
        self.packed = packed
        self.reply = reply

    def settle(self, reply: list[Any] | None, _sent: float) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


class _Prepared(NamedTuple):
    """A check as it is sent. Its rules are kept with it, so that their identity stays theirs."""

    keys: Sequence[str]
    rules: Sequence[Rule]
    packed: bytes


class _Call:
    """One check on its way to the store."""

    __slots__ = ("_limiter", "_prepared", "decision", "keys", "packed")

    def __init__(self, limiter: Limiter, prepared: _Prepared, decision: asyncio.Future[Decision]) -> None:
        self._limiter = limiter
        self._prepared = prepared
        self.keys = prepared.keys
        self.packed = prepared.packed
        self.decision = decision

    def settle(self, reply: list[int] | None, sent: float) -> None:
        if not self.decision.done():
            self.decision.set_result(self._limiter._answer(self._prepared, reply, sent))
