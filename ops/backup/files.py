"""Backup files in a directory: their names, how one comes to be whole or not at all, and when one goes."""

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from ops.backup.errors import BackupFailed
from ops.backup.manifest import PARTS
from ops.stack.place import own_as

_DAY_SECONDS = 86_400
_TIME = "%Y%m%dT%H%M%SZ"
_PART = "|".join(PARTS)
_ARCHIVE = re.compile(
    rf"gatehouse-(?P<time>\d{{8}}T\d{{6}}Z)(?P<parts>(?:-(?:{_PART}))*)(?:\.(?P<number>\d+))?\.tar\.gz(?P<age>\.age)?"
)
_PARTIAL = ".gatehouse-partial-"


class Archive(NamedTuple):
    """An archive by its name: made_at is aware UTC, `number` tells those of one second apart."""

    path: Path
    made_at: datetime
    number: int
    parts: tuple[str, ...]
    is_encrypted: bool


def name_of(made_at: datetime, parts: tuple[str, ...], *, is_encrypted: bool) -> str:
    named = "" if parts == PARTS else "".join(f"-{part}" for part in parts)
    return f"gatehouse-{made_at:{_TIME}}{named}.tar.gz" + (".age" if is_encrypted else "")


def recognised(path: Path) -> Archive | None:
    """None for a file that is not ours by its name."""
    match = _ARCHIVE.fullmatch(path.name)
    if not match:
        return None
    try:
        made_at = datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None
    parts = tuple(match["parts"].split("-")[1:]) or PARTS
    return Archive(path, made_at, int(match["number"] or 1), parts, match["age"] is not None)


def archives(directory: Path) -> list[Archive]:
    """Those in a directory, the newest first."""
    found = [archive for path in directory.glob("gatehouse-*") if path.is_file() and (archive := recognised(path))]
    # Of one second: by number, and an encrypted one and an open one by who was finished later.
    return sorted(found, key=lambda a: (a.made_at, a.number, modified_at(a.path)), reverse=True)


def modified_at(path: Path) -> float:
    """Unix time; now for a file that somebody has removed by now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


@contextmanager
def made(
    directory: Path, name: str, check: Callable[[Path], None], *, replaces: bool = False
) -> Iterator[tuple[IO[bytes], Callable[[], Path]]]:
    """A file to write into, 0600, and what gives it its name once it is on disk and `check` has read it back.

    Whatever goes wrong leaves nothing; what a killed process left is removed by the next one.
    Raises BackupFailed when the directory cannot be written or is full.
    """
    try:
        _make(directory)
        _remove_leftovers(directory)
        partial = directory / f"{_PARTIAL}{secrets.token_hex(8)}"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupFailed(f"{directory} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own_as(directory, handle)

            def finish() -> Path:
                file.flush()
                os.fsync(file.fileno())
                check(partial)
                return _replaced(partial, directory / name) if replaces else _named(partial, directory, name)

            yield file, finish
    except OSError as error:
        raise BackupFailed(_write_failure(directory, error)) from None
    finally:
        partial.unlink(missing_ok=True)


def _make(directory: Path) -> None:
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            own_as(directory.parent, handle)
        finally:
            os.close(handle)


def _named(partial: Path, directory: Path, name: str) -> Path:
    """A link never replaces a file that is there; a second backup of the same second gets a number."""
    stem, dot, ending = name.partition(".")
    for number in range(1, 100):
        path = directory / (name if number == 1 else f"{stem}.{number}{dot}{ending}")
        with suppress(FileExistsError):
            _link(partial, path)
            sync(directory)
            return path
    raise BackupFailed(f"{directory} holds too many files named {stem}")


def _replaced(partial: Path, path: Path) -> Path:
    partial.rename(path)
    sync(path.parent)
    return path


def _link(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
            raise
        if path.exists():  # a file system without links, as on a USB stick
            raise FileExistsError(path) from None
        partial.rename(path)


def sync(directory: Path) -> None:
    """The names in it are on disk when this returns."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_failure(directory: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{directory} is full: make room there, or set BACKUP_DIRECTORY to another place"
    about = f" ({error.filename})" if error.filename else ""
    return f"the backup cannot be written to {directory}: {error.strerror or error}{about}"


def _remove_leftovers(directory: Path) -> None:
    """Partial files whose writer does not live any more: it held a lock."""
    for path in directory.glob(f"{_PARTIAL}*"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def expire(
    directory: Path, retention_days: float, *, made: Archive, is_good: Callable[[Archive], bool] = lambda _: True
) -> list[Path]:
    """Removes archives whose file is older than that, and says which; 0 keeps all.

    Of every part the newest good archive stays however old it is: the one just `made`, which was read back, else the
    newest that `is_good` finds good. Files that are not ours are not touched.
    """
    everything = archives(directory)
    limit = time.time() - retention_days * _DAY_SECONDS
    old = [a.path for a in everything if a.path != made.path and modified_at(a.path) < limit] if retention_days else []
    if not old:
        return []
    known: dict[Path, bool] = {made.path: True}

    def good(archive: Archive) -> bool:
        return known.setdefault(archive.path, archive.path in known or is_good(archive))

    wanted = [part for part in PARTS if part not in made.parts]
    kept = {next((a.path for a in everything if part in a.parts and good(a)), None) for part in wanted}
    gone = [path for path in old if path not in kept]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone
