"""A backup and a restore take turns: data from before a restore with secrets from after it would fit nothing.

Several backups may be under way at once.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ops.backup.errors import BackupFailed
from ops.stack.place import Place, own_as


@contextmanager
def backing_up(place: Place) -> Iterator[None]:
    """Raises BackupFailed while a restore is under way."""
    if not place.run.is_dir():  # a restore would have made it
        yield
        return
    with _held(place, fcntl.LOCK_SH, f"a restore over {place.var} is under way: back up when it is done"):
        yield


@contextmanager
def restoring(place: Place) -> Iterator[None]:
    """Raises BackupFailed while a backup is under way."""
    with _held(place, fcntl.LOCK_EX, f"a backup of {place.var} is being made: restore when it is done"):
        yield


@contextmanager
def _held(place: Place, mode: int, refusal: str) -> Iterator[None]:
    path = place.run / "backup.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BackupFailed(f"{path} cannot be written: {error.strerror}; do this as the stack's user") from None
    with os.fdopen(handle, "r+b") as lock:
        own_as(place.run, handle)
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(refusal) from None
        yield
