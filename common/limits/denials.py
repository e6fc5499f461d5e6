"""Refusals remembered in this process until they end, so that a flood of refused calls costs the store nothing."""

from collections import OrderedDict
from typing import NamedTuple

from common.limits.rules import MICROSECONDS, Answer, Decision, Rule

DENIALS_MAX = 10_000
SECONDS_MAX = 60.0  # then the store is asked again, in case its clock was set or its keys were deleted
_DRIFT = 0.999  # two clocks may differ in speed, by far less than this


class Denial(NamedTuple):
    """The refusal of one cost by one list. `until` and `free_at` are monotonic seconds."""

    limit: int
    window: int
    until: float  # no later than the store would admit the call, or would answer differently
    free_at: float  # no earlier than the store admits the call
    remaining: int
    reset: int

    def decision(self, rule: Rule, now: float) -> Decision:
        """What a call refused by this at `now` is told."""
        retry_after = max(1, -int((now - self.free_at) // 1))
        return Decision(False, rule.name, rule.limit, self.remaining, self.reset, retry_after, False)


class Denials:
    """Bounded memory of refusals by key and cost.

    A refusal holds for its own cost only: a larger cost would be refused too, but must wait longer than is known here.
    """

    def __init__(self, entries_max: int = DENIALS_MAX) -> None:
        self._kept: OrderedDict[tuple[str, int], Denial] = OrderedDict()
        self._entries_max = entries_max

    def __len__(self) -> int:
        return len(self._kept)

    def remember(self, key: str, rule: Rule, answer: Answer, *, clock: int, sent: float, received: float) -> None:
        """Keep a refusal that the store gave at `clock` (its own, µs), between `sent` and `received` (monotonic).

        It is kept until the oldest call leaves the list: then a cost of 1 passes, and for others the figures change.
        """
        lasts = min(answer.wait, answer.leaves - clock) / MICROSECONDS
        self._kept[key, rule.cost] = Denial(
            rule.limit,
            rule.window,
            sent + min(lasts * _DRIFT, SECONDS_MAX),
            received + answer.wait / MICROSECONDS,
            max(0, rule.limit - answer.used),
            -(-answer.leaves // MICROSECONDS),
        )
        self._kept.move_to_end((key, rule.cost))
        if len(self._kept) > self._entries_max:
            self._kept.popitem(last=False)

    def forget(self, key: str) -> None:
        """Drop the refusals by one list, whatever their cost."""
        for kept in [kept for kept in self._kept if kept[0] == key]:
            del self._kept[kept]

    def find(self, key: str, rule: Rule, now: float) -> Denial | None:
        """The refusal that still holds for this rule, if any."""
        denial = self._kept.get((key, rule.cost))
        if denial is None or denial.limit != rule.limit or denial.window != rule.window:
            return None
        if now >= denial.until:
            del self._kept[key, rule.cost]
            return None
        return denial
