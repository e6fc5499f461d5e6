"""Which archive to restore from: the one named, or the newest good one of a directory."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ops.backup import files
from ops.backup.age import is_encrypted
from ops.backup.errors import BackupFailed, NotOpened
from ops.backup.manifest import Manifest
from ops.backup.verify import Progress, verify

Say = Callable[[str], None]


def choose(
    source: Path, wanted: Iterable[str], passphrase: str | None, *, say: Say, progress: Progress = lambda _: None
) -> tuple[Path, Manifest]:
    """A verified archive that holds the parts wanted. One of a directory that is damaged is told of and passed over.

    Raises BackupFailed when there is none; also when the newest only lacks its passphrase: an older one that happens to
    be open is not what anybody means.
    """
    parts = tuple(wanted)
    if not source.is_dir():
        found = _verified(source, parts, passphrase, progress)
        return source, found
    candidates = [archive.path for archive in files.archives(source) if set(parts) <= set(archive.parts)]
    if not candidates:
        raise BackupFailed(f"{source} holds no backup with {_listed(parts)}")
    for path in candidates:
        if is_encrypted(path) and not passphrase:
            raise NotOpened(f"{path} is encrypted: set BACKUP_PASSPHRASE or BACKUP_PASSPHRASE_FILE")
        try:
            return path, _verified(path, parts, passphrase, progress)
        except NotOpened:
            raise
        except BackupFailed as error:
            say(f"passed over: {error}")
    raise BackupFailed(f"{source} holds no backup that is whole: {len(candidates)} were tried")


def _verified(path: Path, parts: tuple[str, ...], passphrase: str | None, progress: Progress) -> Manifest:
    found = verify(path, passphrase, progress)
    if missing := [part for part in parts if part not in found.parts]:
        raise BackupFailed(f"{path} holds {_listed(found.parts)} and not {_listed(missing)}")
    return found


def _listed(parts: Iterable[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
