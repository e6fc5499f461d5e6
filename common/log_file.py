"""A process's standard output and error as a log file, which others may rename at any time without a line being lost.

Rotation is a rename. Before each batch a writer looks whether the path still leads to its file, and opens it anew when
not. It holds a shared lock (flock) meanwhile: whoever compresses a renamed file takes the exclusive one for the last
bytes and the removal, so no batch ends up in a file that is being removed. Standard library only: the supervisor's
parent has one too.
"""

import fcntl
import os

_STDOUT, _STDERR = 1, 2
_ATTEMPTS = 3
MODE = 0o600


class LogFile:
    """Call `take` before anything else."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = (0, 0)
        self._is_torn = False  # the last line of ours is there in part: the disk was full

    def take(self) -> None:
        """Standard output and error lead to the file from now on. Makes it and its folder; raises OSError."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120 - pathlib costs memory
        opened = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
        try:
            os.dup2(opened, _STDOUT)
            os.dup2(opened, _STDERR)
            found = os.fstat(opened)
            self._identity = (found.st_dev, found.st_ino)
            self._is_torn = False
        finally:
            os.close(opened)

    def follow(self) -> None:
        """Opens the path anew if the file was renamed or removed. Goes on with the old one where that is impossible."""
        if not self._is_current():
            self._take_if_possible()

    def write(self, data: bytes) -> int:
        """Appends whole lines in one piece; how many bytes of them were not taken.

        Nothing is raised for a full disk, a request must not fail for it.
        """
        is_locked = self._lock()
        try:
            # What a full disk cut off must not swallow the line that comes after it.
            lost = write_all(_STDOUT, b"\n" + data if self._is_torn else data)
            self._is_torn = 0 < lost < len(data) or (self._is_torn and lost > 0)
            return min(lost, len(data))
        finally:
            if is_locked:
                fcntl.flock(_STDOUT, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        """Shares the lock of the file that the path leads to. Never waits."""
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(_STDOUT, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                pass  # it is being compressed, so the path leads elsewhere
            else:
                if self._is_current():
                    return True
            self._take_if_possible()
        return False

    def _is_current(self) -> bool:
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _take_if_possible(self) -> None:
        try:
            self.take()
        except OSError:
            return


def write_all(fd: int, data: bytes) -> int:
    """Until all is written or nobody takes it any more; how many bytes were not taken."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        pass  # it is told by the number
    return len(view)
