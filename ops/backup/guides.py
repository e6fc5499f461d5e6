"""Backups under the names and in the forms that deployment guides use: `gatehouse backup --preset guides`.

    db_backup_20251121_020000.sql.gz    SQL for an empty database: gunzip -c FILE | psql URL
    app_backup_20251121_020000.tar.gz   the release without its virtual environment, and the settings file as .env
    backup-certs-20251121.tar.gz        one a day: a second one of the day takes its place, as in
    backup-logs-20251121.tar.gz
    backup-secrets-20251121.tar.gz
    .env.backup                         the settings file, always the last

With BACKUP_PASSPHRASE each is closed as an age file and named ….age. They are read back too: of the dump every table's
rows are counted. `gatehouse restore` reads the one archive only; these are for tools that know these names.
"""

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from common.settings import SettingsError
from ops.backup import files, making, options, record, turns
from ops.backup.errors import BackupFailed
from ops.backup.guide_files import WRITERS
from ops.backup.making import Made, Progress
from ops.backup.manifest import PARTS
from ops.backup.options import Options
from ops.stack import configuration
from ops.stack.errors import StackError

_OURS = re.compile(
    r"(db_backup|app_backup)_\d{8}_\d{6}\.(?:sql|tar)\.gz(?:\.age)?|(backup-(?:certs|logs|secrets))-\d{8}\.tar\.gz(?:\.age)?"
)
_DAY_SECONDS = 86_400


def create(
    directory: Path | None = None,
    *,
    only: Iterable[str] = PARTS,
    retention_days: float | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress = lambda *_: None,
) -> Made:
    """As `ops.backup.create`; `path` is the database's file, or that of the first part there is."""
    read = configuration.read(environ)
    wanted = Options(directory or read.place.var / "backups", 0, None)
    started, now = time.monotonic(), datetime.now(UTC)
    chosen = tuple(part for part in PARTS if part in set(only))
    try:
        wanted = options.read(read.place, read.environ, directory=directory)
        rows: dict[str, int] = {}
        with turns.backing_up(read.place):
            written = [path for part in chosen for path in WRITERS[part](read, wanted, now, rows, progress)]
    except (StackError, SettingsError, OSError) as error:
        text = making.sentence(error)
        making.tell_failure(read, wanted.directory, text)
        raise BackupFailed(text) from None
    days = wanted.retention_days if retention_days is None else retention_days
    made = Made(
        path=written[0] if written else wanted.directory,
        made_at=now,
        bytes=sum(path.stat().st_size for path in written),
        parts=chosen,
        is_encrypted=wanted.passphrase is not None,
        version=version("gatehouse"),
        rows=rows,
        seconds=round(time.monotonic() - started, 1),
        removed=tuple(expire(wanted.directory, days)),
    )
    record.good(read.place, made.entry())
    return made


def expire(directory: Path, retention_days: float) -> list[Path]:
    """As of archives: by the file's age, the newest of each kind stays."""
    newest: dict[str, Path] = {}
    ours = {path: match for path in sorted(directory.glob("*")) if (match := _OURS.fullmatch(path.name))}
    for path, match in ours.items():
        newest[match[1] or match[2]] = path
    limit = time.time() - retention_days * _DAY_SECONDS
    gone = [path for path in ours if path not in newest.values() and files.modified_at(path) < limit]
    for path in gone if retention_days else ():
        path.unlink(missing_ok=True)
    return gone if retention_days else []
