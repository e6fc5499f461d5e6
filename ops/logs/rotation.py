"""One policy for all logs: renamed daily and at a size, compressed one rotation later, removed by count and age.

A rename loses nothing, since our processes look for their file before each batch (common/log_file.py). PostgreSQL and
Valkey write to the file they were started with: theirs is copied and emptied.
"""

import errno
import fcntl
import gzip
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import IO

from common import settings
from common.settings import Settings
from ops.logs import files
from ops.logs.lines import own_time

# Their writers hold one descriptor for life.
_COPIED = frozenset({"postgres", "valkey"})
_LINES_LOOKED_AT = 100
_MODE = 0o600
WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Policy:
    """`bytes_max` of a log that is being written, `files_max` older ones of each, none older than `days`."""

    days: int
    bytes_max: int
    files_max: int

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> "Policy":
        """From the settings. Raises SettingsError."""
        loaded = settings.load(Settings, environ)
        return cls(loaded.log_retention_days, int(loaded.log_size_max), loaded.log_files_max)


@dataclass
class Report:
    """File names."""

    rotated: list[str] = field(default_factory=list)
    compressed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def rotate(
    folder: Path,
    policy: Policy,
    *,
    now: datetime | None = None,
    is_forced: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> Report:
    """Does what is due, or with `is_forced` rotates every log that is not empty.

    Raises OSError, also when another rotation is at it for longer than `wait_seconds`; whatever could be done for the
    other logs is done by then, and nothing is lost.
    """
    now = now or datetime.now(UTC)
    report = Report()
    faults = []
    with _alone(folder, wait_seconds):
        for name in files.names(folder):
            try:
                _rotate(folder / f"{name}.log", policy, now, report, is_forced=is_forced)
            except OSError as error:
                faults.append(error)
    if faults:
        raise faults[0]
    return report


def _rotate(log: Path, policy: Policy, now: datetime, report: Report, *, is_forced: bool) -> None:
    if _is_due(log, policy, now, is_forced=is_forced):
        report.rotated.append(_put_aside(log, now).name)
    # First, because it makes room, and the other needs some.
    _remove_superfluous(log, policy, now, report)
    _compress_older(log, report)


def is_large(folder: Path, policy: Policy) -> bool:
    """Whether a log has reached its size: a look that costs nothing."""
    return any(_size(path) >= policy.bytes_max for path in folder.glob("*.log"))


@contextmanager
def _alone(folder: Path, wait_seconds: float) -> Iterator[None]:
    """The controller, a timer and a person may rotate at once. One that hangs must not hold up the others."""
    path = folder / ".rotation.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _is_taken(handle):
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, f"another rotation is at it for over {wait_seconds:g} s", str(path))
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    """0 for what is no regular file, or not there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if S_ISREG(found.st_mode) else 0


def _is_due(log: Path, policy: Policy, now: datetime, *, is_forced: bool) -> bool:
    size = _size(log)
    if not size:
        return False
    return is_forced or size >= policy.bytes_max or _began_before(log, f"{now.astimezone(UTC):%Y-%m-%d}")


def _began_before(log: Path, today: str) -> bool:
    """Whether its first line with a time is of an earlier day (UTC)."""
    first = next(filter(None, (own_time(line) for line in islice(files.lines(log), _LINES_LOOKED_AT))), "")
    return bool(first) and first[:10] < today


def _put_aside(log: Path, now: datetime) -> Path:
    target = files.renamed(log, now)
    while target.exists() or target.with_name(f"{target.name}.gz").exists():
        now += timedelta(microseconds=1)
        target = files.renamed(log, now)
    if log.stem in _COPIED:
        _copy_and_empty(log, target)
    else:
        log.rename(target)
    return target


def _copy_and_empty(log: Path, target: Path) -> None:
    """What its writer adds between the last look and the emptying is lost: microseconds, once a day."""
    partial = target.with_name(target.name + files.PARTIAL)
    with log.open("r+b") as source, _new(partial, like=source.fileno()) as copy, _gone_on_error(partial):
        copied = 0
        while os.fstat(source.fileno()).st_size > copied:
            shutil.copyfileobj(source, copy)
            copied = source.tell()
        os.ftruncate(source.fileno(), 0)
    partial.rename(target)


def _compress_older(log: Path, report: Report) -> None:
    """All but the newest: somebody may still be writing to that, and people look at it most."""
    plain = [path for path in files.ours(log) if not files.is_compressed(path) and path.suffix != files.PARTIAL]
    for path in plain[:-1]:
        if _compress(path):
            report.compressed.append(f"{path.name}.gz")


def _compress(path: Path) -> bool:
    """False when somebody is writing to it at this moment: next time, then. A crash leaves the original."""
    target = path.with_name(f"{path.name}.gz")
    partial = target.with_name(target.name + files.PARTIAL)
    with path.open("rb") as source, _new(partial, like=source.fileno()) as raw, _gone_on_error(partial):
        with gzip.GzipFile(fileobj=raw, mode="wb", filename="") as compressed:
            shutil.copyfileobj(source, compressed)
            try:
                fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                partial.unlink()
                return False
            # From here on a writer that still has it turns away to the path it was renamed from.
            shutil.copyfileobj(source, compressed)
        raw.flush()
        os.fsync(raw.fileno())
        written = os.fstat(source.fileno())
        os.utime(partial, ns=(written.st_atime_ns, written.st_mtime_ns))
        partial.rename(target)
        path.unlink()
    return True


@contextmanager
def _gone_on_error(partial: Path) -> Iterator[None]:
    """Half a file is of no use, and on a full disk it takes the room that others need."""
    try:
        yield
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _new(path: Path, *, like: int) -> IO[bytes]:
    """An empty file with owner and mode of the open file `like`; replaces what an interrupted rotation left."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    owner = os.fstat(like)
    os.fchmod(handle, owner.st_mode & 0o777)
    if os.geteuid() == 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)
    return os.fdopen(handle, "wb")


def _remove_superfluous(log: Path, policy: Policy, now: datetime, report: Report) -> None:
    oldest = (now - timedelta(days=policy.days)).timestamp()
    for age, path in enumerate(reversed(files.ours(log))):
        if age >= policy.files_max or path.stat().st_mtime < oldest:
            path.unlink()
            report.removed.append(path.name)
