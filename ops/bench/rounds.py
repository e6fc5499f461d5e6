"""Interleaved rounds: every subject in turn, again and again, so that a noisy minute falls on all of them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ops.bench.load import Request, load
from ops.bench.processes import Running

WARM_SECONDS = 1


@dataclass(frozen=True)
class Subject:
    """A running proxy and the request that it is sent."""

    running: Running
    request: Request


class Figures(NamedTuple):
    """Of one round, or the medians of several. `cpu_us` is of all the proxy's processes, per request."""

    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


class Outcome(NamedTuple):
    median: Figures
    cpu_us_least: float
    cpu_us_most: float


def compare(subjects: Mapping[str, Subject], *, rounds: int, seconds: int) -> dict[str, Outcome]:
    """The figures of each subject by its name, after a round that only warms up. Raises BadAnswer."""
    for subject in subjects.values():
        load(subject.request, WARM_SECONDS)
    measured: dict[str, list[Figures]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            measured[name].append(_measure(subject, seconds))
    return {name: summary(figures) for name, figures in measured.items()}


def _measure(subject: Subject, seconds: int) -> Figures:
    before = subject.running.cpu_seconds()
    answered = load(subject.request, seconds)
    used = subject.running.cpu_seconds() - before
    rate = answered.requests / answered.seconds
    return Figures(used * 1e6 / answered.requests, rate, answered.p50_ms, answered.p99_ms)


def summary(figures: Sequence[Figures]) -> Outcome:
    costs = [one.cpu_us for one in figures]
    median = Figures(*(statistics.median(column) for column in zip(*figures, strict=True)))
    return Outcome(median, min(costs), max(costs))
