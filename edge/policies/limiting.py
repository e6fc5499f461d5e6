"""Applies a route's limit classes to a request."""

from common.errors import TooManyRequests
from common.limits import Decision, Limiter, Rule
from edge.exchange import Exchange
from edge.policies.client_address import limit_subject


class Limiting:
    """General and domain classes count the caller; class auth counts the address, whoever calls."""

    def __init__(self, limiter: Limiter, general: Rule) -> None:
        self._limiter = limiter
        self._general = (general,)

    async def check(self, exchange: Exchange) -> None:
        """Raises TooManyRequests; leaves the decision to show on the answer in `exchange`."""
        assert exchange.route is not None
        rules, caller = exchange.route.rules, exchange.caller
        address = limit_subject(exchange.client.address)
        if caller is None:
            if rules:
                await self._apply(exchange, address, rules)
            return
        by_address = tuple(rule for rule in rules if rule.name == "auth")
        by_caller = tuple(rule for rule in rules if rule.name != "auth") + ((caller.rule,) if caller.rule else ())
        if by_address:
            await self._apply(exchange, address, by_address)
        if by_caller:
            await self._apply(exchange, caller.subject, by_caller)

    async def count_refused(self, exchange: Exchange) -> None:
        """A request whose credential was refused counts against its address."""
        if exchange.route is not None and exchange.route.rules:
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


def limit_headers(decision: Decision) -> bytes:
    return b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n" % (
        decision.limit,
        decision.remaining,
        decision.reset,
    )
