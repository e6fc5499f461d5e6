"""The rules of a route for every tier, decided when the table is read: a request pays one look-up for them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from common.limits import Rule
from edge.tiers import Tiers

_SHADOW = ".shadow"  # such a rule counts apart, in the store and in the metrics


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """Class auth counts the address, whoever calls; others count the caller, or the address of an anonymous one.

    anonymous    every class, by address
    by_address   class auth, beside those below
    by_caller    the others, for tiers that limits.toml does not name
    by_tier      the others, for those that it names
    """

    anonymous: tuple[Rule, ...]
    by_address: tuple[Rule, ...]
    by_caller: tuple[Rule, ...]
    by_tier: Mapping[str, tuple[Rule, ...]]


class LimitTable:
    """`limits` are the rules of everybody; classes in `shadow` are counted and never refuse."""

    def __init__(self, limits: Mapping[str, Rule], tiers: Tiers, shadow: Collection[str] = ()) -> None:
        self._limits = limits
        self._tiers = tiers
        self._shadow = frozenset(shadow)
        self._compiled: dict[tuple[str, ...], RouteLimits] = {}  # thousands of routes share a few

    def enforced(self, classes: Sequence[str]) -> RouteLimits:
        """What refuses calls of a route that names `classes`."""
        return self._of(tuple(name for name in classes if name not in self._shadow))

    def watched(self, classes: Sequence[str]) -> RouteLimits | None:
        """What only counts them; None where there is no such class."""
        shadow = tuple(name for name in classes if name in self._shadow)
        return self._of(shadow) if shadow else None

    def _of(self, classes: tuple[str, ...]) -> RouteLimits:
        found = self._compiled.get(classes)
        if found is None:
            found = self._compiled[classes] = self._compile(classes)
        return found

    def _compile(self, classes: tuple[str, ...]) -> RouteLimits:
        of_caller = [name for name in classes if name != "auth"]
        return RouteLimits(
            anonymous=self._rules(classes, {}),
            by_address=self._rules([name for name in classes if name == "auth"], {}),
            by_caller=self._rules(of_caller, {}),
            by_tier={tier: self._rules(of_caller, changed) for tier, changed in self._tiers.items()},
        )

    def _rules(self, classes: Sequence[str], changed: Mapping[str, Rule]) -> tuple[Rule, ...]:
        rules = [changed.get(name, self._limits[name]) for name in classes]
        return tuple(replace(rule, name=rule.name + _SHADOW) if rule.name in self._shadow else rule for rule in rules)
