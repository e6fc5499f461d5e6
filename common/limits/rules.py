"""What a limit is, what a check answers, and how the answer of a store or of local memory becomes a decision."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

MICROSECONDS = 1_000_000
_SETTING = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)\s*")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class CostTooLargeError(ValueError):
    """A cost above its rule's limit: such a call could never pass, so there is no time at which to retry it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` units of cost in any window of `window_seconds`, for each subject.

    `is_divided`: while the store is away each process enforces its part of the limit, not the whole.
    `scope` sets apart rules of one name under one subject, such as the own limits of a user's API keys (the key's id).
    Raises ValueError for values that make no rule, CostTooLargeError for a cost above the limit.
    """

    name: str
    limit: int
    window_seconds: float
    cost: int = 1
    scope: str = ""
    is_divided: bool = True
    window: int = field(init=False, repr=False, compare=False)  # microseconds
    suffix: str = field(init=False, repr=False, compare=False)  # of its keys in the store
    arguments: tuple[bytes, bytes, bytes] = field(init=False, repr=False, compare=False)  # for the script

    def __post_init__(self) -> None:
        window = round(self.window_seconds * MICROSECONDS)
        if not _NAME.fullmatch(self.name) or (self.scope and not _NAME.fullmatch(self.scope)):
            raise ValueError(f"a rule's name and scope are of letters, digits, '.', '_', '-': {self.name!r}")
        if self.limit < 1 or window < 1 or self.cost < 1:
            raise ValueError(f"limit {self.name}: count, seconds and cost must be above zero")
        if self.cost > self.limit:
            raise CostTooLargeError(f"limit {self.name}: a cost of {self.cost} can never pass a limit of {self.limit}")
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "suffix", f":{self.name}:{self.scope}" if self.scope else f":{self.name}")
        object.__setattr__(self, "arguments", tuple(b"%d" % n for n in (self.limit, window, self.cost)))

    @classmethod
    def parse(cls, name: str, setting: str) -> "Rule":
        """The rule in a setting "count/seconds", such as "100/60"; ValueError says what is wrong with it."""
        match = _SETTING.fullmatch(setting)
        if match is None:
            raise ValueError(f'limit {name}: expected "count/seconds" such as "100/60", got {setting!r}')
        return cls(name, int(match[1]), float(match[2]))

    def at_cost(self, cost: int) -> "Rule":
        """The same rule for a call of this cost (recipients of an e-mail); CostTooLargeError above the limit."""
        return replace(self, cost=cost)


class Decision(NamedTuple):
    """The outcome of a check, shown by the rule that refused it (longest wait) or that has the fewest remaining."""

    allowed: bool
    rule: str
    limit: int
    remaining: int
    reset: int  # unix second by which the oldest counted call has left the window
    retry_after: int | None  # whole seconds >= 1 after which the call passes; None when allowed
    degraded: bool  # decided in this process's own memory because the store is away: approximate


class Answer(NamedTuple):
    """What the script says of one rule: units used, when the oldest leaves (unix µs), µs until the cost fits or 0."""

    used: int
    leaves: int
    wait: int


def answers(reply: Sequence[int]) -> list[Answer]:
    """The answers in a reply `[admitted, clock, used, leaves, wait, ...]`, one for each rule."""
    return [Answer(reply[i], reply[i + 1], reply[i + 2]) for i in range(2, len(reply), 3)]


def seconds_up(microseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-microseconds // MICROSECONDS)


def decide(rules: Sequence[Rule], reply: Sequence[int], limits: Sequence[int], *, degraded: bool) -> Decision:
    """The decision in the script's reply for `rules`; `limits` are those in force (smaller in local memory)."""
    chosen, offset = 0, 2
    if len(rules) > 1:
        chosen = _shown(answers(reply), limits, admitted=bool(reply[0]))
        offset += 3 * chosen
    rule, used, wait = rules[chosen], reply[offset], reply[offset + 2]
    remaining = limits[chosen] - used
    return Decision(
        reply[0] == 1,
        rule.name,
        rule.limit,
        max(0, remaining),
        seconds_up(reply[offset + 1]),
        None if reply[0] else max(1, seconds_up(wait)),
        degraded,
    )


def _shown(found: Sequence[Answer], limits: Sequence[int], *, admitted: bool) -> int:
    if admitted:
        return min(range(len(found)), key=lambda i: limits[i] - found[i].used)
    return max(range(len(found)), key=lambda i: found[i].wait)
