"""Where backups go, how long they stay, what closes them: the settings that begin with BACKUP_."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import settings
from common.settings import SettingsError
from ops.backup.errors import BackupFailed
from ops.stack.place import Place

RETENTION_DAYS = 7
_PASSPHRASE_LENGTH_MIN = 12


@dataclass(frozen=True)
class Options:
    """`retention_days` 0 keeps everything; `passphrase` None leaves archives open to whoever can read the file."""

    directory: Path
    retention_days: float
    passphrase: str | None


def read(place: Place, environ: Mapping[str, str], *, directory: Path | None = None) -> Options:
    """`directory` in place of BACKUP_DIRECTORY. Raises BackupFailed naming every fault at once."""
    try:
        configured = settings.variable("BACKUP_DIRECTORY", environ)
        days = settings.variable("BACKUP_RETENTION_DAYS", environ)
        passphrase = settings.variable("BACKUP_PASSPHRASE", environ)
    except SettingsError as error:
        raise BackupFailed(str(error)) from None
    faults = []
    if not _is_number(days or "0"):
        faults.append(f"BACKUP_RETENTION_DAYS: must be a number of days, 0 or more, not {days!r}")
    if passphrase and len(passphrase) < _PASSPHRASE_LENGTH_MIN:
        faults.append(f"BACKUP_PASSPHRASE: must have {_PASSPHRASE_LENGTH_MIN} characters or more")
    if faults:
        raise BackupFailed("\n".join(faults))
    found = directory or (Path(configured).expanduser() if configured else place.var / "backups")
    return Options(found.absolute(), float(days) if days else RETENTION_DAYS, passphrase or None)


def _is_number(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False
