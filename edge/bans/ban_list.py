"""Who is banned: known here without asking, shared with every other edge within a second."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from common.limits import Limiter, Rule

log = structlog.get_logger()
_SCRIPT = (Path(__file__).parent / "bans.lua").read_bytes()
_KEYS = ("gatehouse:{bans}", "gatehouse:{bans}:change")
_POLL_SECONDS = 1.0


class BanList:
    """Subscribers (see edge/addresses.py) and the loop time at which their ban ends.

    The store has the truth. While it is away each process keeps its own, and tells the store when that is back what it
    banned or lifted meanwhile.
    """

    def __init__(self) -> None:
        self.until: dict[str, float] = {}  # the same object for ever: the hot path asks whether it is empty
        self._untold: dict[str, float] = {}  # of those, what the store has not confirmed; 0.0 is lifted
        self._change = b""
        self._limiter: Limiter | None = None

    def attach(self, limiter: Limiter) -> None:
        """Share through the limiter's store from now on."""
        self._limiter = limiter

    def seconds_left(self, subscriber: str) -> float:
        """Zero for whoever is not banned."""
        until = self.until.get(subscriber)
        return 0.0 if until is None else max(0.0, until - asyncio.get_running_loop().time())

    def entries(self) -> list[tuple[str, float]]:
        """Everybody who is banned, with the seconds left, those who come free first."""
        now = asyncio.get_running_loop().time()
        return sorted(((who, until - now) for who, until in self.until.items() if until > now), key=lambda ban: ban[1])

    async def ban(self, subscriber: str, seconds: float) -> bool:
        """From now on here, and everywhere within a second. False while the store is away: then here alone."""
        return await self._change_to(subscriber, asyncio.get_running_loop().time() + seconds)

    async def lift(self, subscriber: str, rules: Sequence[Rule]) -> bool:
        """The same for the end of a ban; what `rules` counted of its address is forgotten."""
        if self._limiter is not None:
            await self._limiter.forget(f"address:{subscriber}", rules)
        return await self._change_to(subscriber, 0.0)

    async def follow(self) -> None:
        """Reads what other processes changed, for ever."""
        while True:
            try:
                await self.read()
            except Exception:
                log.exception("ban_list_failed")
            await asyncio.sleep(_POLL_SECONDS)

    async def read(self) -> bool:
        """Tell the store what it does not know and read what is new; False when it is away."""
        now = asyncio.get_running_loop().time()
        told = dict(self._untold)
        pairs = [part for who, until in told.items() for part in (who, max(0, round((until - now) * 1000)))]
        reply = await self._limiter.run(_SCRIPT, _KEYS, [self._change, *pairs]) if self._limiter else None
        self._drop_expired(now)
        if reply is None:
            return False
        for who, until in told.items():
            if self._untold.get(who) == until:
                del self._untold[who]
        self._apply(reply)
        return True

    async def _change_to(self, subscriber: str, until: float) -> bool:
        self._untold[subscriber] = until
        self._keep(subscriber, until)
        return await self.read()

    def _apply(self, reply: Sequence[Any]) -> None:
        if reply[0] != self._change:
            self._change = reply[0]
            now = asyncio.get_running_loop().time()
            self.until.clear()
            for who, milliseconds in zip(reply[1::2], reply[2::2], strict=True):
                self.until[who.decode()] = now + milliseconds / 1000
            for who, until in self._untold.items():
                self._keep(who, until)

    def _keep(self, subscriber: str, until: float) -> None:
        if until:
            self.until[subscriber] = until
        else:
            self.until.pop(subscriber, None)

    def _drop_expired(self, now: float) -> None:
        for entries in (self.until, self._untold):
            for who in [who for who, until in entries.items() if 0 < until <= now]:
                del entries[who]
