"""Reads `limits.toml`: the limits of each tier. A bad file is refused whole, every fault with its line."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.limits import Rule
from edge.table import TableError, line_of

# Tier → class → its rule, for the classes that the tier changes.
Tiers = Mapping[str, Mapping[str, Rule]]

_FACTOR_MAX = 1_000_000


def read_tiers(path: Path, limits: Mapping[str, Rule]) -> Tiers:
    """The tiers in the file at `path`; `limits` are the rules of everybody. Raises TableError naming every fault."""
    try:
        text = path.read_text()
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}:1: cannot be read ({type(error).__name__})") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise TableError(f"{path}:{line[1] if line else len(text.splitlines())}: no TOML: {error}") from None
    file = _File(text.splitlines(), limits)
    tiers = file.read(content)
    if file.faults:
        raise TableError("\n".join(f"{path}:{line}: {said}" for line, said in sorted(file.faults)))
    return tiers


class _File:
    """One file's tiers, each judged for itself, so that one fault hides no other."""

    def __init__(self, lines: list[str], limits: Mapping[str, Rule]) -> None:
        self._lines = lines
        self._limits = limits
        self.faults: list[tuple[int, str]] = []

    def read(self, content: dict[str, Any]) -> Tiers:
        for key in content.keys() - {"tier"}:
            self._fault(f"unknown field {key!r}", key)
        tiers = content.get("tier", {})
        if not isinstance(tiers, dict):
            self._fault("tier must be [tier.name] tables", "tier")
            return {}
        return {name: self._tier(name, raw) for name, raw in tiers.items()}

    def _tier(self, name: str, raw: object) -> dict[str, Rule]:
        if not isinstance(raw, dict):
            self._fault(f"tier must be [tier.{name}] tables", "tier", name)
            return {}
        rules = {}
        for key, value in raw.items():
            try:
                rules[key] = self._rule(key, value)
            except ValueError as error:
                self._fault(str(error), "tier", name, key)
        return rules

    def _rule(self, name: str, value: object) -> Rule:
        """Raises ValueError."""
        if name == "auth":
            raise ValueError("auth counts addresses, which have no tier")
        if name not in self._limits:
            raise ValueError(f"unknown field {name!r}")
        if isinstance(value, str):
            return Rule.parse(name, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f'{name}: must be a number or a text "count/seconds"')  # noqa: TRY004 - all faults are one kind
        return _multiplied(self._limits[name], value)

    def _fault(self, said: str, *where: str) -> None:
        self.faults.append((line_of(self._lines, where), said))


def _multiplied(rule: Rule, factor: float) -> Rule:
    if not 0 < factor <= _FACTOR_MAX:
        raise ValueError(f"{rule.name}: a factor must be above zero and at most {_FACTOR_MAX}")
    return Rule(rule.name, max(1, round(rule.limit * factor)), rule.window_seconds)
