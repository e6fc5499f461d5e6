"""Refuses requests early when a worker has more of them than it can serve in time: a 503 now beats a time-out later.

Two signs: more requests in flight than are allowed, and an event loop that comes late to its own appointments. For the
first, all that are too many are refused. For the second, a share of new ones, which grows while the loop is late and
shrinks when it is not, by fixed steps both ways: lateness is an average of many requests already.
"""

import asyncio
from bisect import bisect_left
from typing import Final

from common.errors import ServiceUnavailable

TICK_SECONDS: Final = 0.1
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_STEP_UP = 0.1
_STEP_DOWN = 0.05
_SHARE_MAX = 0.9
# A loop that is late with fewer in flight is held up by something else than a queue: refusing would not help.
_IN_FLIGHT_MIN = 64
_RETRY_SECONDS = 1


class Shedding:
    """Of one worker. `lag_seconds_max` 0 leaves the lag out of account.

    in_flight       requests begun and not ended, streams too; kept by the handler
    lag_seconds     how late the loop was at the last tick
    lag_counts      ticks by lag, a number for each of LAG_BUCKETS and one above; `lag_sum` seconds
    share           of new requests that are refused for lag, 0 to 0.9
    shed            refused since the start, by the sign
    """

    def __init__(self, *, requests_max: int, lag_seconds_max: float) -> None:
        self.in_flight = 0
        self.lag_seconds = 0.0
        self.lag_counts = [0] * (len(LAG_BUCKETS) + 1)
        self.lag_sum = 0.0
        self.share = 0.0
        self.shed = {"requests": 0, "lag": 0}
        self._requests_max = requests_max
        self._lag_seconds_max = lag_seconds_max
        self._debt = 0.0

    def require_room(self) -> None:
        """Raises ServiceUnavailable. The request asked about is in `in_flight` already."""
        if self.in_flight > self._requests_max:
            self._shed("requests")
        if self.share:
            self._debt += self.share
            if self._debt >= 1:
                self._debt -= 1
                self._shed("lag")

    def observe(self, lag_seconds: float) -> None:
        """What a tick found. One late tick may be anything; two in a row are a queue."""
        limit, before = self._lag_seconds_max, self.lag_seconds
        self.lag_seconds = lag_seconds
        self.lag_sum += lag_seconds
        self.lag_counts[bisect_left(LAG_BUCKETS, lag_seconds)] += 1
        if limit and min(before, lag_seconds) > limit and self.in_flight >= _IN_FLIGHT_MIN:
            self.share = min(_SHARE_MAX, self.share + _STEP_UP)
        else:
            self.share = max(0.0, self.share - _STEP_DOWN)

    async def watch(self) -> None:
        """Measures the loop it runs on, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.observe(max(0.0, loop.time() - due))

    def _shed(self, sign: str) -> None:
        self.shed[sign] += 1
        raise ServiceUnavailable(
            "Too many requests are being served; try again shortly",
            detail=f"shed: {sign}",
            retry_after_seconds=_RETRY_SECONDS,
        )
