"""What can go wrong with a backup or a restore."""

from ops.stack.errors import StackError


class BackupFailed(StackError):
    """The text is one sentence for the person at the terminal; it names no secret."""


class NotOpened(BackupFailed):
    """An archive is encrypted, and its passphrase is not there or is another one: nothing is known about the rest."""
