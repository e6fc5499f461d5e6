"""What can go wrong with a backup or a restore."""

from ops.stack.errors import StackError


class BackupFailed(StackError):
    """The text is one sentence for the person at the terminal; it names no secret."""
