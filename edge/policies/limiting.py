"""Applies a route's limit classes to a request."""

from common.errors import TooManyRequests
from common.limits import Decision, Limiter, Rule
from edge.addresses import limit_subject
from edge.exchange import Exchange
from edge.identity.caller import Caller
from edge.policies.shadow import Shadow
from edge.route_limits import RouteLimits


class Limiting:
    """General and domain classes count the caller by its tier; class auth counts the address, whoever calls."""

    def __init__(self, limiter: Limiter, general: RouteLimits) -> None:
        self._limiter = limiter
        self._general = general.anonymous
        self._shadow = Shadow(limiter)

    async def check(self, exchange: Exchange) -> None:
        """Raises TooManyRequests; leaves the decision to show on the answer in `exchange`."""
        assert exchange.route is not None
        route, caller = exchange.route, exchange.caller
        if caller is None:
            if route.limits.anonymous:
                await self._apply(exchange, limit_subject(exchange.client.address), route.limits.anonymous)
        else:
            if route.limits.by_address:
                await self._apply(exchange, limit_subject(exchange.client.address), route.limits.by_address)
            if rules := _rules_of(caller, route.limits):
                await self._apply(exchange, caller.subject, rules)
        if route.watched is not None:
            self._shadow.watch(exchange, route.watched)

    async def count_refused(self, exchange: Exchange) -> None:
        """A request whose credential was refused counts against its address."""
        if self._general and exchange.route is not None and exchange.route.limits.anonymous:
            await self._apply(exchange, limit_subject(exchange.client.address), self._general)

    def require_not_refused(self, exchange: Exchange) -> None:
        """Raises TooManyRequests while the address is known to have used up class general; counts nothing."""
        decision = self._limiter.remembered(limit_subject(exchange.client.address), self._general)
        if decision is not None:
            exchange.decision = decision
            raise TooManyRequests(decision.retry_after or 1)

    async def _apply(self, exchange: Exchange, subject: str, rules: tuple[Rule, ...]) -> None:
        decision = await self._limiter.check(subject, rules)
        if exchange.decision is None or not decision.allowed or decision.remaining < exchange.decision.remaining:
            exchange.decision = decision
        if not decision.allowed:
            raise TooManyRequests(decision.retry_after or 1)


def _rules_of(caller: Caller, limits: RouteLimits) -> tuple[Rule, ...]:
    """A key's own limit is one rule more of its owner: both are counted in one call, or neither."""
    rules = limits.by_tier.get(caller.identity.tier, limits.by_caller)
    return rules if caller.rule is None else (*rules, caller.rule)


def limit_headers(decision: Decision) -> bytes:
    return b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n" % (
        decision.limit,
        decision.remaining,
        decision.reset,
    )
