"""How long each step may take, and the one timer a connection needs to hold it to that."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte` runs from the end of the request to the end of the answer's head; each interim answer
    starts it anew. `idle` is the longest pause of the upstream inside either body."""

    connect: float = 5
    first_byte: float = 60
    idle: float = 60


class Deadline:
    """A deadline that moves with every request, on a timer that is touched only when it would ring too late.

    Most deadlines move on before they pass: setting one costs a comparison, and the timer, when it rings early, is
    set again to what the deadline is by then.
    """

    __slots__ = ("_loop", "_passed", "_timer", "_timer_at", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self.at = NEVER
        self._loop = loop
        self._passed = passed
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER

    def set(self, seconds: float) -> None:
        """Calls `passed` `seconds` from now, unless it is set again before."""
        at = self.at = self._loop.time() + seconds
        if at < self._timer_at:
            self._arm(at)

    def clear(self) -> None:
        """No deadline until the next `set`; the timer is left to ring for nothing."""
        self.at = NEVER

    def has_passed(self) -> bool:
        return self.at <= self._loop.time()

    def end(self) -> None:
        """For good; whoever it was to call is let go."""
        self.at = NEVER
        self._passed = _nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        if self.has_passed():
            self._passed()
        elif self.at < NEVER:
            self._arm(self.at)


def _nobody() -> None:
    """Is called by a deadline that was set again after its end."""
