"""Adding up the metrics of several workers. Pure functions over plain lists, as they travel in JSON.

A family is `[name, type, help, [[sample name, [[label, value], ...], number], ...]]`.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

Family: TypeAlias = Any  # the list above: JSON has no tuples, and the nesting is checked by nobody but us
Families: TypeAlias = list[Family]

# What only grows; a worker's share of these must outlive it.
_CUMULATIVE = frozenset({"counter", "histogram", "summary"})


def merge(snapshots: Iterable[Families]) -> Families:
    """One set of families: numbers of equal sample name and labels are added, gauges too.

    Order is that of first appearance; type and help are the first worker's.
    """
    merged: dict[str, Family] = {}
    samples: dict[str, dict[str, list[Any]]] = {}
    for families in snapshots:
        for name, kind, text, added in families:
            merged.setdefault(name, [name, kind, text])
            _add(samples.setdefault(name, {}), added)
    return [[*head, list(samples[name].values())] for name, head in merged.items()]


def cumulative(families: Families) -> Families:
    """The families that must not go back when their worker is gone: counters, histograms, summaries."""
    return [family for family in families if family[1] in _CUMULATIVE]


def _add(totals: dict[str, list[Any]], added: Iterable[list[Any]]) -> None:
    for name, labels, number in added:
        key = "\0".join([name, *sorted(map("\1".join, labels))])  # a tuple of tuples costs three times the memory
        total = totals.get(key)
        if total is None:
            totals[key] = [name, labels, number]
        else:
            total[2] += number
