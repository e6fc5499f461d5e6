"""How many of something each subject holds at once, over all processes: leases in the shared store, renewed while held.

What callers may rely on:
- at most `limit` leases of a key at once, whichever processes they were taken in, by the server's clock;
- what a process held that died is free again within LEASE_SECONDS;
- a store that is away, stalled or refuses writes never fails a call: each process then counts what it holds itself, so
  that at most `limit` × processes are held, and what is held is in the store again soon after it is back.
"""

import asyncio
import itertools
import os
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

LEASE_SECONDS = 60
_RENEW_SECONDS = 20
_STORE_SECONDS = 0.25  # an answer later than that is none
_PROBE_SECONDS = 5
_RETURNED_MAX = 10_000  # keys; while the store is away, what is too much ends by itself
_BATCH = 500
_PREFIX = "gatehouse:lease:"
# KEYS: a sorted set, lease → when it ends (ms). ARGV: limit, the new lease, its ms, leases given back.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 4, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

log = structlog.get_logger()
_FAULTS = (RedisError, OSError, TimeoutError)


class Leases:
    """Without a `client` each process counts for itself."""

    def __init__(self, client: Redis | None) -> None:
        self._client = client
        self._names = (f"{prefix}{number}" for prefix in [os.urandom(6).hex()] for number in itertools.count())
        self._held: dict[str, set[str]] = {}
        self._returned: dict[str, set[str]] = {}  # until the store knows
        self._changed = asyncio.Event()
        self._is_down = False

    async def take(self, subject: str, purpose: str, limit: int) -> tuple[str, str] | None:
        """A lease to give back, or None when `limit` are held."""
        key, lease = f"{_PREFIX}{{{subject}}}:{purpose}", next(self._names)
        try:
            is_free = await self._ask(key, lease, limit)
        except asyncio.CancelledError:
            self._return(key, lease)  # the store may have given it
            raise
        if is_free is None:
            is_free = len(self._held.get(key, ())) < limit
        if not is_free:
            return None
        self._held.setdefault(key, set()).add(lease)
        return key, lease

    def give_back(self, taken: tuple[str, str]) -> None:
        key, lease = taken
        self._held[key].discard(lease)
        if not self._held[key]:
            del self._held[key]
        self._return(key, lease)

    def _return(self, key: str, lease: str) -> None:
        if self._client is not None and len(self._returned) < _RETURNED_MAX:
            self._returned.setdefault(key, set()).add(lease)
            self._changed.set()

    async def _ask(self, key: str, lease: str, limit: int) -> bool | None:
        """None when the store does not say."""
        if self._client is None or self._is_down:
            return None
        returned = self._returned.get(key, ())
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                arguments = (limit, lease, LEASE_SECONDS * 1000, *returned)
                return bool(await self._client.eval(_TAKE, 1, key, *arguments))
        except _FAULTS as error:
            self._go_down(error)
            return None

    def _go_down(self, error: Exception) -> None:
        if not self._is_down:
            log.warning("leases_store_down", error=repr(error))
            self._is_down = True
            self._changed.set()

    # --- what the store is told ---------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Tells at once what was given back, and at intervals what is held. Runs until cancelled."""
        if self._client is None:
            return
        clock = asyncio.get_running_loop().time
        renew_at = clock() + _RENEW_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._changed.wait()
            self._changed.clear()
            is_due = self._is_down or clock() >= renew_at
            try:
                await self._tell_returned(self._client)
                if is_due:
                    await self._renew(self._client)
                    renew_at = clock() + _RENEW_SECONDS
                self._is_down = False
            except _FAULTS as error:
                self._go_down(error)
                await asyncio.sleep(_PROBE_SECONDS)
                renew_at = clock()

    async def _tell_returned(self, client: Redis) -> None:
        returned = {key: tuple(leases) for key, leases in self._returned.items()}
        if not returned:
            return
        calls = client.pipeline(transaction=False)
        for key, leases in returned.items():
            calls.zrem(key, *leases)
        await calls.execute()
        for key, leases in returned.items():
            self._returned[key].difference_update(leases)
            if not self._returned[key]:
                del self._returned[key]

    async def _renew(self, client: Redis) -> None:
        seconds, microseconds = await client.time()
        ends = seconds * 1000 + microseconds // 1000 + LEASE_SECONDS * 1000
        keys = list(self._held)
        for start in range(0, len(keys), _BATCH):
            calls = client.pipeline(transaction=False)
            for key in keys[start : start + _BATCH]:
                if leases := self._held.get(key):  # not given back meanwhile
                    calls.zadd(key, dict.fromkeys(leases, ends))
                    calls.pexpire(key, LEASE_SECONDS * 1000)
            await calls.execute()
