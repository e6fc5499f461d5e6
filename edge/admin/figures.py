"""Numbers read out of metric families, as they stand after the workers' have been added up."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from common.metrics import Family

Labels = dict[str, str]


def samples(families: Iterable[Family], name: str) -> Iterator[tuple[Labels, float]]:
    """Each sample of that name: its labels and its value."""
    for _, _, _, found in families:
        for sample, labels, value in found:
            if sample == name:
                yield dict(labels), value


def total(families: Iterable[Family], name: str, **labels: str) -> float:
    """The sum of the samples of that name with these labels."""
    return sum(value for found, value in samples(families, name) if labels.items() <= found.items())


class Durations:
    """One histogram: `bounds` in seconds, the last one infinite, `counts` up to each; `seconds` is their sum."""

    def __init__(self) -> None:
        self.counts: dict[float, float] = {}
        self.seconds = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Milliseconds; quantiles are None before anything was counted."""
        return {
            "count": int(self.count),
            "p50_ms": _milliseconds(self.quantile(0.5)),
            "p99_ms": _milliseconds(self.quantile(0.99)),
            "mean_ms": _milliseconds(self.seconds / self.count if self.count else None),
        }

    @property
    def count(self) -> float:
        return max(self.counts.values(), default=0.0)

    def quantile(self, share: float) -> float | None:
        """In seconds, evenly spread within its bucket as Prometheus' histogram_quantile has it."""
        bounds = sorted(self.counts)
        return quantile(bounds, [self.counts[bound] for bound in bounds], share)


def quantile(bounds: Sequence[float], cumulative: Sequence[float], share: float) -> float | None:
    """None without anything counted; the last finite bound for what lies above it."""
    if not cumulative or cumulative[-1] <= 0:
        return None
    rank = share * cumulative[-1]
    index = bisect_left(cumulative, rank)
    if bounds[index] == float("inf"):
        return bounds[index - 1] if index else None
    lower, below = (bounds[index - 1], cumulative[index - 1]) if index else (0.0, 0.0)
    return lower + (bounds[index] - lower) * (rank - below) / (cumulative[index] - below)


def durations(families: Iterable[Family], name: str, *by: str) -> dict[tuple[str, ...], Durations]:
    """The histograms of that name, added up over all labels but `by`."""
    found: dict[tuple[str, ...], Durations] = {}
    for family, _, _, members in families:
        if family != name:
            continue
        for sample, pairs, value in members:
            labels = dict(pairs)
            one = found.setdefault(tuple(labels[label] for label in by), Durations())
            if sample == f"{name}_bucket":
                bound = float(labels["le"].replace("+Inf", "inf"))
                one.counts[bound] = one.counts.get(bound, 0.0) + value
            elif sample == f"{name}_sum":
                one.seconds += value
    return found


def by_class(families: Iterable[Family], name: str, *by: str) -> dict[tuple[str, ...], dict[str, int]]:
    """How often each class of status was answered, as in {"2xx": 12, "5xx": 1}."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for labels, value in samples(families, name):
        classes = found.setdefault(tuple(labels[label] for label in by), {})
        status = f"{labels['status'][:1]}xx"
        classes[status] = classes.get(status, 0) + int(value)
    return found


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
