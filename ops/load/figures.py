"""What the load showed, and whether that is good enough."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ops.load.apachebench import Ab
from ops.load.usage import Use

P95_SECONDS_MAX = 0.3
SERVICE_BYTES_MAX = 400_000_000
SERVICES = ("edge", "auth", "core")


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the moment a request was due to the last byte of its answer."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        ordered = sorted(seconds) or [0.0]
        p50, p95, p99 = (_milliseconds(ordered[int(len(ordered) * share)]) for share in (0.5, 0.95, 0.99))
        return cls(len(seconds), p50, p95, p99, _milliseconds(ordered[-1]))


@dataclass(frozen=True)
class Figures:
    """`latency` is of all requests, `by_kind` of each kind; `lag` is how late the generator itself was."""

    per_second: float
    seconds: float
    failures: Mapping[str, int]
    latency: Latency
    by_kind: Mapping[str, Latency]
    lag: Latency
    uses: Mapping[str, Use]
    generator_cpu_seconds: float
    workers: Mapping[str, int]
    users: int
    ab: Ab | None

    def faults(self) -> list[str]:
        """Why the gate stays closed; empty when it opens."""
        found = [f"{count} requests failed: {reason}" for reason, count in self.failures.items()]
        if self.latency.count == 0:
            found.append("no request was answered")
        if self.latency.p95 > P95_SECONDS_MAX * 1000:
            found.append(f"p95 is {self.latency.p95:.0f} ms, above {P95_SECONDS_MAX * 1000:.0f} ms")
        for name in SERVICES:
            if self.uses[name].pss_bytes >= SERVICE_BYTES_MAX:
                used, allowed = self.uses[name].pss_bytes // 1_000_000, SERVICE_BYTES_MAX // 1_000_000
                found.append(f"{name} used {used} MB of memory, {allowed} MB are allowed")
        if self.ab is not None and self.ab.failed:
            found.append(f"{self.ab.failed} requests of ab failed")
        return found

    def as_json(self) -> dict[str, Any]:
        ab = self.ab._asdict() if self.ab else None
        return {**asdict(self), "ab": ab, "machine": machine(), "faults": self.faults()}


def machine() -> str:
    """One line: processor, cores, system, Python."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {sys.version.split()[0]}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a file of the kernel
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
