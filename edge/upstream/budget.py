"""How many requests may be sent again: a bad moment must not become twice the load."""

import math

SHARE = 0.2
FLOOR = 30
WINDOW_SECONDS = 10


class RetryBudget:
    """At most a fifth of the requests of the last ten seconds, and 30 more: as in Finagle, by whole seconds."""

    __slots__ = ("_requests", "_retries", "_second", "_slots")

    def __init__(self) -> None:
        self._slots = [[0, 0] for _ in range(WINDOW_SECONDS)]  # requests and retries of one second each
        self._second = 0
        self._requests = self._retries = 0  # of all slots

    def count(self, now: float) -> None:
        """A request came."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        self._slots[second % WINDOW_SECONDS][0] += 1
        self._requests += 1

    def take(self, now: float) -> bool:
        """Whether one may be sent again; True spends it."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        if self._retries + 1 > math.floor(self._requests * SHARE) + FLOOR:
            return False
        self._slots[second % WINDOW_SECONDS][1] += 1
        self._retries += 1
        return True

    def _turn(self, second: int) -> None:
        """Forgets the seconds that left the window."""
        for passed in range(max(self._second + 1, second - WINDOW_SECONDS + 1), second + 1):
            slot = self._slots[passed % WINDOW_SECONDS]
            self._requests -= slot[0]
            self._retries -= slot[1]
            slot[0] = slot[1] = 0
        self._second = second
