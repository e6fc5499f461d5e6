"""Makes a backup: gathers the parts, writes the archive, reads it back, names it, lets old ones go."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.settings import SettingsError
from ops import alerts
from ops.backup import agreement, archive, database, files, options, parts, record, turns
from ops.backup.archive import Writer
from ops.backup.errors import BackupFailed
from ops.backup.manifest import PARTS, Database, Manifest
from ops.backup.options import Options
from ops.backup.parts import Source
from ops.backup.verify import verify
from ops.stack import configuration
from ops.stack.configuration import Configuration
from ops.stack.database import owner_url
from ops.stack.errors import StackError

# (what is being done, bytes done, bytes in all or None where nobody knows)
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Made:
    """A backup that was read back and found whole.

    bytes     the file's size
    rows      "schema.table" → rows in it; empty without the database
    removed   older ones that BACKUP_RETENTION_DAYS let go
    """

    path: Path
    made_at: datetime
    bytes: int
    parts: tuple[str, ...]
    is_encrypted: bool
    version: str
    rows: Mapping[str, int]
    seconds: float
    removed: tuple[Path, ...]

    def entry(self) -> dict[str, Any]:
        """As in `run/backups.json`."""
        return {
            "name": self.path.name,
            "path": str(self.path),
            "time": record.iso(self.made_at),
            "bytes": self.bytes,
            "parts": list(self.parts),
            "encrypted": self.is_encrypted,
            "version": self.version,
            "rows": sum(self.rows.values()),
            "seconds": self.seconds,
        }


def create(
    directory: Path | None = None,
    *,
    only: Iterable[str] = PARTS,
    retention_days: float | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress = lambda *_: None,
) -> Made:
    """A verified backup in `directory` (BACKUP_DIRECTORY), of the parts named; recorded in `run/backups.json`.

    retention_days   in place of BACKUP_RETENTION_DAYS; 0 keeps everything
    environ          in place of the process environment
    Must be called in the main thread when the database is the embedded one and does not run: it is started meanwhile.
    Raises BackupFailed with one sentence: then nothing was removed, no file is left, the failure is recorded and the
    alert hook was called.
    """
    read = configuration.read(environ)
    wanted = options.Options(directory or read.place.var / "backups", 0, None)
    try:
        wanted = options.read(read.place, read.environ, directory=directory)
        made = _made(read, wanted, tuple(part for part in PARTS if part in set(only)), progress)
        record.good(read.place, made.entry())
    except (StackError, SettingsError, OSError) as error:
        text = sentence(error)
        tell_failure(read, wanted.directory, text)
        raise BackupFailed(text) from None
    days = wanted.retention_days if retention_days is None else retention_days
    return replace(made, removed=tuple(_expire(read, wanted, made, days)))


def _expire(read: Configuration, wanted: Options, made: Made, days: float) -> list[Path]:
    """Raises BackupFailed when an old one cannot be removed; the new one stands."""

    def is_good(archive: files.Archive) -> bool:
        try:
            return set(archive.parts) <= set(verify(archive.path, wanted.passphrase).parts)
        except BackupFailed:
            return False

    archive = files.recognised(made.path)
    assert archive
    try:
        return files.expire(wanted.directory, days, made=archive, is_good=is_good)
    except OSError as error:
        text = f"{made.path} is made, but an old backup cannot be removed: {sentence(error)}"
        tell_failure(read, wanted.directory, text)
        raise BackupFailed(text) from None


def write(read: Configuration, directory: Path, only: Iterable[str], progress: Progress) -> Path:
    """A verified archive that nobody is told of. Raises StackError or OSError."""
    wanted = options.read(read.place, read.environ, directory=directory)
    return _made(read, wanted, tuple(part for part in PARTS if part in set(only)), progress).path


def tell_failure(read: Configuration, directory: Path, text: str) -> None:
    """Records it and calls the alert hook."""
    try:
        record.failed(read.place, directory, text)
    except OSError as error:
        text += f" (and it cannot be recorded in {read.place.run}: {error.strerror})"
    alerts.alert("backup failed", text, environ=read.environ)


def sentence(error: Exception) -> str:
    """For the person at the terminal."""
    if isinstance(error, OSError):
        return f"{error.filename or 'the backup'}: {error.strerror or error}"
    return str(error)


def _made(read: Configuration, wanted: Options, chosen: tuple[str, ...], progress: Progress) -> Made:
    with turns.backing_up(read.place):
        return _made_alone(read, wanted, chosen, progress)


def _made_alone(read: Configuration, wanted: Options, chosen: tuple[str, ...], progress: Progress) -> Made:
    started, made_at = time.monotonic(), datetime.now(UTC)
    described: list[Manifest] = []

    def check(path: Path) -> None:
        total = sum(member.size for member in described[0].members)
        verify(path, wanted.passphrase, lambda done: progress("Reading it back", done, total))

    name = files.name_of(made_at, chosen, is_encrypted=wanted.passphrase is not None)
    with files.made(wanted.directory, name, check) as (file, finish):
        with archive.writing(file, wanted.passphrase) as writer:
            described.append(_write(read, chosen, made_at, writer, progress, is_encrypted=bool(wanted.passphrase)))
        path = finish()
    found = described[0].database
    return Made(
        path=path,
        made_at=made_at,
        bytes=path.stat().st_size,
        parts=chosen,
        is_encrypted=wanted.passphrase is not None,
        version=described[0].version,
        rows=found.rows if found else {},
        seconds=round(time.monotonic() - started, 1),
        removed=(),
    )


def _write(
    read: Configuration,
    chosen: tuple[str, ...],
    made_at: datetime,
    writer: Writer,
    progress: Progress,
    *,
    is_encrypted: bool,
) -> Manifest:
    dumped: Database | None = None
    if "database" in chosen:
        with owner(read) as url:
            dumped = database.back_up(url, writer, lambda done, total: progress("Database", done, max(done, total)))
            progress("Database", 1, 1)  # the estimate was one of tables, not of their dump
            if "secrets" in chosen:
                agreement.check(url, parts.secret_values(read.place, read.environ))
    sources: dict[str, Callable[[], Iterable[Source]]] = {
        "configuration": lambda: parts.configuration(read.environ),
        "certificates": lambda: parts.certificates(read.place),
        "secrets": lambda: parts.secret_files(read.place, read.environ, is_encrypted=is_encrypted),
        "logs": lambda: parts.logs(read.place),
    }
    for part, gathered in sources.items():
        if part in chosen:
            _add(writer, part, list(gathered()), progress)
    described = Manifest(
        version=version("gatehouse"),
        made_at=record.iso(made_at),
        host=socket.gethostname(),
        parts=list(chosen),
        members=list(writer.members),
        database=dumped,
        notes={
            "release": str(Path(__file__).resolve().parents[2]),
            "var": str(read.place.var),
            "env_file": str(parts.env_file_of(read.environ)),
            "routes": str(parts.routes_of(read.environ)),
        },
    )
    writer.finish(described)
    return described


def _add(writer: Writer, part: str, sources: list[Source], progress: Progress) -> None:
    for number, source in enumerate(sources, 1):
        try:
            with source.opened() as (content, size):
                writer.add(source.name, content, size)
        except FileNotFoundError:
            if not source.may_shrink:  # a log that was rotated away is in the next backup under its new name
                raise
        except PermissionError:
            raise BackupFailed(f"{source.path} cannot be read: back up as the stack's user") from None
        except EOFError:
            raise BackupFailed(f"{source.path} changed while it was read: try again") from None
        progress(part.capitalize(), number, len(sources))


def owner(read: Configuration) -> Any:
    """The owner's URL: the configured server's, or the embedded one's, started meanwhile when it does not run.

    Raises StackError, rather than make an empty cluster, where there is no database.
    """
    if read.owner_url is not None:
        return nullcontext(read.owner_url)
    for name in ("DATABASE_URL", "MIGRATE_DATABASE_URL"):
        if fault := read.faults.get(name):
            raise BackupFailed(f"{name}: {fault}")
    if not os.path.lexists(read.place.var / "pg"):
        raise BackupFailed(f"there is no database over {read.place.var}: no stack was ever started there")
    return owner_url(read, read.secrets())
