"""Limit classes that only count: what they would refuse is known before they refuse it."""

import time
from functools import partial

import structlog

from common.limits import Decision, Limiter
from edge.addresses import limit_subject
from edge.exchange import Exchange
from edge.route_limits import RouteLimits

log = structlog.get_logger()
_LOG_SECONDS = 1.0


class Shadow:
    """Nothing of it shows on an answer. It counts what the enforced classes let pass, and delays no request."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._unlogged = 0
        self._next_line = 0.0

    def watch(self, exchange: Exchange, limits: RouteLimits) -> None:
        caller, address = exchange.caller, limit_subject(exchange.client.address)
        label = exchange.label
        checks = [(address, limits.anonymous if caller is None else limits.by_address)]
        if caller is not None:
            checks.append((caller.subject, limits.by_tier.get(caller.identity.tier, limits.by_caller)))
        for subject, rules in checks:
            if rules:
                self._limiter.watch(subject, rules, partial(self._note, subject, label))

    def _note(self, subject: str, label: str, decision: Decision) -> None:
        """One line a second at most, with the number of those that had none."""
        if decision.allowed:
            return
        self._unlogged += 1
        now = time.monotonic()
        if now >= self._next_line:
            log.info("limit_would_refuse", limit=decision.rule, subject=subject, route=label, refusals=self._unlogged)
            self._unlogged, self._next_line = 0, now + _LOG_SECONDS
