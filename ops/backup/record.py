"""`$GATEHOUSE_VAR/run/backups.json`: what became of backups and drills, for `gatehouse backup list` and for a console.

    {
      "directory": "/var/lib/gatehouse/backups",
      "last_good": BACKUP | null,
      "last_failure": {"time", "error", "directory"} | null,
      "last_drill": {"time", "ok", "archive", "seconds", "rows", "checks": {name: what was seen}, "error"} | null,
      "backups": [BACKUP, …]
    }

BACKUP is {"name", "path", "time", "bytes", "parts", "encrypted", "version", "rows", "seconds"}: newest first, those
whose files are still there. Times are ISO 8601 in UTC, `rows` are those of all tables together.
"""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.stack.place import Place, own_as

_ENTRIES_MAX = 200
_LOCK_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
EMPTY: dict[str, Any] = {
    "directory": None,
    "last_good": None,
    "last_failure": None,
    "last_drill": None,
    "backups": [],
}


def read(place: Place) -> dict[str, Any]:
    """The record, without backups whose files have gone; an empty one when there is none yet or it is damaged."""
    content: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        content = json.loads(_path(place).read_text())
    found = {**EMPTY, **content} if isinstance(content, dict) else EMPTY
    return {**found, "backups": [entry for entry in found["backups"] if Path(entry["path"]).exists()]}


def good(place: Place, entry: dict[str, Any]) -> None:
    def change(record: dict[str, Any]) -> None:
        others = [known for known in record["backups"] if known["path"] != entry["path"]]
        record["backups"] = [entry, *others][:_ENTRIES_MAX]
        record["last_good"], record["directory"] = entry, str(Path(entry["path"]).parent)

    _change(place, change)


def failed(place: Place, directory: Path, error: str) -> None:
    _change(place, lambda record: record.update(last_failure=_failure(directory, error)))


def drilled(place: Place, outcome: dict[str, Any]) -> None:
    _change(place, lambda record: record.update(last_drill=outcome))


def now() -> str:
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _failure(directory: Path, error: str) -> dict[str, Any]:
    return {"time": now(), "error": error, "directory": str(directory)}


def _path(place: Place) -> Path:
    return place.run / "backups.json"


def _change(place: Place, change: Callable[[dict[str, Any]], None]) -> None:
    """One at a time, whole or not at all."""
    place.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _path(place)
    with os.fdopen(os.open(path.with_suffix(".lock"), _LOCK_FLAGS, 0o600), "w") as lock:
        own_as(place.run, lock.fileno())
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = read(place)
        change(record)
        aside = path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            own_as(place.run, file.fileno())
            json.dump(record, file, indent=2)
            file.write("\n")
        aside.rename(path)
