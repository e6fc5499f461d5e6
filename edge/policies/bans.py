"""Bans: whoever fails too often where passwords are tried gets nothing at all for a while."""

import math
from collections.abc import Callable

import structlog

from common.errors import Banned
from common.limits import Limiter, Rule
from edge.addresses import limit_subject, parsed, subscriber
from edge.bans.ban_list import BanList
from edge.exchange import Exchange

log = structlog.get_logger()
_FAILURES_MAX = 1000  # kept of an address; above any setting, so that none is ever refused as a call is


class Bans:
    """`failures` refused answers within `within_seconds` ban an address for `seconds`; 0 failures ban nobody.

    An address that `is_trusted` is a proxy: who fails behind it is somebody else, and it is never banned.
    """

    def __init__(
        self,
        banned: BanList,
        limiter: Limiter,
        *,
        is_trusted: Callable[[str], bool],
        failures: int,
        within_seconds: float,
        seconds: float,
    ) -> None:
        self._banned = banned
        self.anybody = banned.until  # false while it is empty
        self._limiter = limiter
        self._is_trusted = is_trusted
        self._failures = failures
        self._seconds = seconds
        self._rules = (failure_rule(within_seconds),)
        self.banned_count = 0
        self.refused_count = 0

    def require_not_banned(self, exchange: Exchange) -> None:
        """Raises Banned."""
        if left := self._banned.seconds_left(subscriber(exchange.client.address)):
            self.refused_count += 1
            raise Banned(math.ceil(left))

    async def count(self, exchange: Exchange, status: int) -> None:
        """Called before the answer leaves, so that the one after the last failure is refused already."""
        address = exchange.client.address
        if not self._failures or not _is_failure(exchange, status):
            return
        if parsed(address) is None or self._is_trusted(address):
            return
        decision = await self._limiter.check(limit_subject(address), self._rules)
        if decision.limit - decision.remaining >= self._failures:
            self.banned_count += 1
            is_shared = await self._banned.ban(subscriber(address), self._seconds)
            log.warning("address_banned", address=address, seconds=self._seconds, shared=is_shared)


def failure_rule(within_seconds: float) -> Rule:
    """Counts failures of an address: whole in each process while the store is away, since few must not ban."""
    return Rule("failures", _FAILURES_MAX, within_seconds, is_divided=False)


def _is_failure(exchange: Exchange, status: int) -> bool:
    """A used-up class auth is one too; other limits say nothing about passwords."""
    decision = exchange.decision
    if status == 429:
        return decision is not None and not decision.allowed and decision.rule == "auth"
    return status in (401, 403)
