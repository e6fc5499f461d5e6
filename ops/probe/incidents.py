"""Which problems are known, and who has been told: a probe every five minutes must not alert every five minutes."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.owner import as_owner

REMIND_SECONDS = 86_400

# Subject and detail; whether it was delivered.
Tell = Callable[[str, str], bool]


class Incidents:
    """By name: since when (Unix seconds), and when somebody was last told (0: nobody yet)."""

    def __init__(self, known: dict[str, dict[str, Any]], tell: Tell, clock: Callable[[], float]) -> None:
        self.known = known
        self._tell = tell
        self._clock = clock

    def report(self, name: str, problem: str, *, subject: str, over: str) -> None:
        """`problem` is empty when there is none. Tells what began, what still lasts a day later, and what is over."""
        if problem:
            self._lasts(name, problem, subject)
        elif name in self.known:
            self._over(name, over)

    def _lasts(self, name: str, problem: str, subject: str) -> None:
        entry = self.known.setdefault(name, {"since": self._clock(), "told": 0.0})
        entry["problem"] = problem
        # An alert that could not be delivered is tried again by the next probe.
        is_due = not entry["told"] or self._clock() - entry["told"] >= REMIND_SECONDS
        if is_due and self._tell(subject, f"{problem}\nsince {_date(entry['since'])}"):
            entry["told"] = self._clock()

    def _over(self, name: str, over: str) -> None:
        entry = self.known[name]
        told = entry["told"]
        if not told or self._tell(over, f"was: {entry['problem']}\nsince {_date(entry['since'])}"):
            del self.known[name]


@contextmanager
def incidents(
    path: Path, tell: Tell, *, var: Path | None = None, clock: Callable[[], float] = time.time
) -> Iterator[Incidents]:
    """Those of `path`, for one probe at a time, written back whole or not at all. Raises OSError.

    Root writes as the owner of `var` (default: the file's folder).
    """
    with as_owner(var or path.parent):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        lock = path.with_suffix(".lock").open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = Incidents(_read(path), tell, clock)
        try:
            yield found
        finally:
            with as_owner(var or path.parent):
                _write(path, found.known)


def _write(path: Path, known: dict[str, dict[str, Any]]) -> None:
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(known, file)
    aside.rename(path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """A file that is gone or spoilt costs one alert too many, never one too few."""
    try:
        known = json.loads(path.read_text())
        return {
            name: {**entry, "since": float(entry["since"]), "told": float(entry["told"])}
            for name, entry in known.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
