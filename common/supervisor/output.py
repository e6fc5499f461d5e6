"""Where the parent speaks: standard error, and the service's log file once the settings name one.

What it says goes to both: the file has everything in one place, and the terminal or journal that started the service
shows why it did not start.
"""

import contextlib
import os

from common.log_file import LogFile, write_all
from common.supervisor.plan import CannotStart


class Output:
    """Children inherit our standard streams: `follow` before one is started."""

    def __init__(self) -> None:
        self._file: LogFile | None = None
        # The streams we were started with, kept for when a reload leads back to them.
        self._original: tuple[int, int] | None = None
        self._echoes = False

    def use(self, path: str) -> None:
        """The log file at `path`, the original streams for an empty one. Raises CannotStart; nothing changes then."""
        if path == (self._file.path if self._file else ""):
            self.follow()
        elif path:
            self._lead_to(LogFile(path))
        elif self._original is not None:
            for number, kept in enumerate(self._original, 1):
                os.dup2(kept, number)
            self._file = None

    def follow(self) -> None:
        """After a rotation."""
        if self._file is not None:
            self._file.follow()

    def say(self, text: str) -> None:
        """One line. The terminal may be gone: no reason to stop serving."""
        line = text.encode(errors="backslashreplace") + b"\n"
        if self._file is None:
            write_all(2, line)
            return
        self._file.write(line)
        if self._echoes and self._original is not None:
            write_all(self._original[1], line)

    def _lead_to(self, file: LogFile) -> None:
        if self._original is None:
            self._original = (_copy(1), _copy(2))
        try:
            file.take()
        except OSError as error:
            raise CannotStart(f"its log {file.path} cannot be written: {error.strerror}") from None
        self._file = file
        # `gatehouse up` starts us with the file itself as standard error: once is enough there.
        self._echoes = not os.path.samestat(os.fstat(self._original[1]), os.fstat(2))


def _copy(stream: int) -> int:
    """A copy of ours alone; /dev/null for a stream that was closed."""
    with contextlib.suppress(OSError):
        return os.dup(stream)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
