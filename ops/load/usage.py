"""What the stack's processes use while the load runs: CPU seconds and memory, by service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from ops.stack.condition import proportional_bytes
from ops.stack.control import ask
from ops.stack.place import Place
from ops.stack.process import descendants, resident_bytes

SAMPLE_SECONDS = 1.0


@dataclass
class Use:
    """Of one service or server, all of its processes together; memory is the largest that was seen.

    PSS divides what several processes share; RSS counts it once for each of them.
    """

    processes: int = 0
    cpu_seconds: float = 0
    pss_bytes: int = 0
    rss_bytes: int = 0


@dataclass
class Watch:
    uses: dict[str, Use] = field(default_factory=dict)


@contextmanager
def watched(place: Place) -> Iterator[Watch]:
    """Watches from here to the end of the block; only then the figures are complete."""
    watch, ended = Watch(), threading.Event()
    before = {name: _cpu(pids) for name, pids in _pids(place).items()}

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            _note_memory(watch, place)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
        _note_memory(watch, place)
        for name, pids in _pids(place).items():
            watch.uses[name].cpu_seconds = _cpu(pids) - before.get(name, 0)


def _note_memory(watch: Watch, place: Place) -> None:
    for name, pids in _pids(place).items():
        use = watch.uses.setdefault(name, Use())
        use.processes = max(use.processes, len(pids))
        use.pss_bytes = max(use.pss_bytes, sum(map(proportional_bytes, pids)))
        use.rss_bytes = max(use.rss_bytes, sum(map(resident_bytes, pids)))


def _pids(place: Place) -> dict[str, list[int]]:
    status = ask(place, "status")
    assert status is not None, "the stack ended under load"
    entries = [entry for entry in (*status["services"], *status["servers"]) if entry["pid"]]
    return {entry.get("name") or entry["title"]: [entry["pid"], *descendants(entry["pid"])] for entry in entries}


def _cpu(pids: list[int]) -> float:
    """User and system seconds, those of children that have ended included."""
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
