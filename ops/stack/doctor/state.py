"""The state directory: may we write it, is there room, are its secrets closed."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ops import secrets
from ops.secrets import SecretsError
from ops.stack.doctor import Finding
from ops.stack.place import Place

_ROOM_MIN, _ROOM_GOOD = 200 << 20, 1 << 30


def findings(place: Place) -> Iterator[Finding]:
    """Of directories that need not exist yet."""
    yield _writable(place)
    yield _room(place)
    yield _secrets(place)


def _writable(place: Place) -> Finding:
    nearest = _nearest(place.var)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("State", "fail", f"{nearest} cannot be written", "set GATEHOUSE_VAR, or give us the directory")
    return Finding("State", "ok", f"{place.var}" + ("" if place.var.exists() else " (made by the first start)"))


def _room(place: Place) -> Finding:
    free = shutil.disk_usage(_nearest(place.var)).free
    detail = f"{free / 1e9:.1f} GB free"
    if free < _ROOM_MIN:
        return Finding("Disk", "fail", detail, f"make room on the file system of {place.var}")
    if free < _ROOM_GOOD:
        return Finding("Disk", "warn", detail, f"make room on the file system of {place.var}")
    return Finding("Disk", "ok", detail)


def _secrets(place: Place) -> Finding:
    directory = place.var / "secrets"
    if not directory.exists():
        return Finding("Secrets", "skip", "none yet; development makes them on the first start")
    if directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("Secrets", "fail", f"{directory} is open to other users", f"chmod 700 {directory}")
    faults = [fault for path in sorted(directory.iterdir()) if (fault := _fault(path))]
    if faults:
        return Finding("Secrets", "fail", "; ".join(faults), f"chmod 600 {directory}/*")
    return Finding("Secrets", "ok", f"{len(list(directory.iterdir()))} files that only their owner can read")


def _fault(path: Path) -> str | None:
    try:
        secrets.read(path)
    except SecretsError as error:
        return str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _nearest(path: Path) -> Path:
    """The directory itself, or the first above it that exists."""
    return next(step for step in (path, *path.parents) if step.exists())
