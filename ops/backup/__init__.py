"""Backups that were read back, a restore that is all or nothing, and a drill that shows that both work.

    made = backup.create()                     into BACKUP_DIRECTORY, verified, or BackupFailed with one sentence
    made.path, made.rows, made.entry()
    manifest = backup.verify(path, passphrase)

What an archive holds is in `archive.py`, what a file in the directory is called in `files.py`, what `run/backups.json`
says in `record.py`.
"""

from ops.backup.errors import BackupFailed
from ops.backup.making import Made, create
from ops.backup.manifest import PARTS, Manifest
from ops.backup.verify import verify

__all__ = ["PARTS", "BackupFailed", "Made", "Manifest", "create", "verify"]
