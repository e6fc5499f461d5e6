"""Memory of a proxy while something happens: samples of it, and their slope."""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ops.bench.processes import Running
from ops.stack.condition import proportional_bytes


class Sample(NamedTuple):
    seconds: float  # since the watch began
    size_bytes: int  # PSS of all the proxy's processes


@contextmanager
def watched(proxy: Running, every_seconds: float) -> Iterator[list[Sample]]:
    """The list grows until the block ends."""
    samples: list[Sample] = []
    ended, started = threading.Event(), time.monotonic()

    def sample() -> None:
        while True:
            samples.append(Sample(time.monotonic() - started, size(proxy)))
            if ended.wait(every_seconds):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def size(proxy: Running) -> int:
    return sum(map(proportional_bytes, proxy.pids))


def slope(samples: Sequence[Sample]) -> float:
    """Bytes a minute, by least squares."""
    times, sizes = zip(*samples, strict=True)
    return statistics.linear_regression(times, sizes).slope * 60
