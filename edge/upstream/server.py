"""One server of an upstream: what it carries, how it fares, and whether it is given requests.

Its circuit breaker: closed while it answers; opened (`fell`) by a connection it does not accept, or by FAILURES_MAX
failures in a row; half open (`rose`) when a check has passed: the first failure opens it again, for twice as long.
"""

import asyncio
import math
import ssl
from dataclasses import dataclass
from typing import Literal

from common.http1 import Pool

FAILURES_MAX = 5
SLOW_START_SECONDS = 30.0
OUT_SECONDS_MAX = 30.0
_OUT_SECONDS = 1.0
_SLOW_START_SHARE = 0.1  # of its weight, to begin with
_DECAY_SECONDS = 5.0
_UNASKED_SECONDS = 1.0
_LATENCY_MIN = 0.001  # differences below a millisecond are noise
_STEP_MAX = 4.0
_FAILURE_SECONDS = 1.0  # what it takes while its last answer was a failure: failing fast attracts nobody

Condition = Literal["healthy", "slow-start", "ejected", "unhealthy", "draining"]


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server as this worker sees it. `latency_ms` is its peak-EWMA; None where there is no choice to measure for.

    `failures` counts connections not accepted, time-outs, broken or unusable answers, and answers 502, 503 and 504;
    `retries` the requests it was given after another had failed with them; `ejections` how often it was left out.
    """

    url: str
    weight: int
    state: Condition
    in_flight: int
    idle: int
    latency_ms: float | None
    failures: int
    retries: int
    ejections: int


class Server:
    """Times are seconds of a monotonic clock, passed in."""

    __slots__ = (
        "_asked_at",
        "_latency",
        "_rose_at",
        "_server_name",
        "_tls",
        "ejections",
        "failures",
        "failures_in_a_row",
        "fell",
        "out",
        "out_seconds",
        "pool",
        "retries",
        "turn",
        "weight",
    )

    def __init__(
        self,
        url: str,
        *,
        weight: int = 1,
        connections_max: int = 512,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self._tls = tls
        self._server_name = server_name
        self.pool = self.open_pool(url, connections_max)
        self.weight = weight
        self.turn = 0.0  # the balancer's: how much of its share it is owed
        self.out: Literal["ejected", "unhealthy"] | None = None
        self.out_seconds = 0.0  # until the next check, while it is out
        self.fell = asyncio.Event()
        self.failures = self.failures_in_a_row = self.retries = self.ejections = 0
        self._latency = 0.0
        self._asked_at = 0.0
        self._rose_at = -math.inf

    def open_pool(self, url: str, connections_max: int) -> Pool:
        return Pool(url, connections_max=connections_max, tls=self._tls, server_name=self._server_name)

    @property
    def url(self) -> str:
        return self.pool.url

    # --- how it fares ------------------------------------------------------------------------------------------

    def latency(self, now: float) -> float:
        """Seconds until its answers begin: a moving average that rises at once and forgets within seconds.

        Peak-EWMA as in Finagle, but one slow answer says little about a server: it counts fourfold at most.
        """
        return max(self._measured(now), _FAILURE_SECONDS if self.failures_in_a_row else 0.0)

    def is_unasked(self, now: float) -> bool:
        """Whether nothing is known of it but what may be over: then it has its turn, however slow it was."""
        return self.pool.in_flight == 0 and now - self._asked_at >= _UNASKED_SECONDS

    def answered(self, seconds: float, now: float) -> None:
        self.failures_in_a_row = 0
        self._observe(seconds, now)

    def failed(self, now: float) -> None:
        self.failures += 1
        self.failures_in_a_row += 1
        self._latency, self._asked_at = self._measured(now), now

    def left_waiting(self, seconds: float, now: float) -> None:
        """The client gave up: no failure, but its answer took at least this long."""
        if seconds > self._measured(now):
            self._observe(seconds, now)

    def _measured(self, now: float) -> float:
        return max(_LATENCY_MIN, self._latency * math.exp((self._asked_at - now) / _DECAY_SECONDS))

    def _observe(self, seconds: float, now: float) -> None:
        before = self._measured(now)
        seconds = min(seconds, before * _STEP_MAX)
        kept = math.exp((self._asked_at - now) / _DECAY_SECONDS)
        self._latency = max(seconds, before + seconds * (1 - kept))
        self._asked_at = now

    # --- whether it is given requests --------------------------------------------------------------------------

    def fall(self, why: Literal["ejected", "unhealthy"], now: float, seconds_max: float = OUT_SECONDS_MAX) -> None:
        """Out until a check passes; each time soon after the last waits twice as long for its check."""
        again = self.out is not None or now - self._rose_at < SLOW_START_SECONDS
        self.out_seconds = min(self.out_seconds * 2 if again else _OUT_SECONDS, seconds_max)
        self.ejections += self.out is None
        self.out = why
        self.fell.set()

    def rise(self, now: float) -> None:
        """Back, with a small part of its weight, and on trial: the next failure ejects it."""
        self.out = None
        self.failures_in_a_row = FAILURES_MAX - 1
        self._rose_at = now
        self.fell.clear()

    def is_starting(self, now: float) -> bool:
        return now - self._rose_at < SLOW_START_SECONDS

    def share(self, now: float) -> float:
        """Its weight as far as it may be used already."""
        return self.weight * min(1.0, max(_SLOW_START_SHARE, (now - self._rose_at) / SLOW_START_SECONDS))

    def condition(self, now: float) -> Condition:
        if self.weight == 0:
            return "draining"
        return self.out or ("slow-start" if self.is_starting(now) else "healthy")

    def state(self, now: float, *, is_measured: bool) -> ServerState:
        return ServerState(
            url=self.url,
            weight=self.weight,
            state=self.condition(now),
            in_flight=self.pool.in_flight,
            idle=self.pool.idle,
            latency_ms=round(self._measured(now) * 1000, 3) if is_measured else None,
            failures=self.failures,
            retries=self.retries,
            ejections=self.ejections,
        )
