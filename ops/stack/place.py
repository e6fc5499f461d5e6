"""Where a stack keeps what changes: the paths below `$GATEHOUSE_VAR`, and the lock that makes it ours."""

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common import settings
from common.settings import SettingsError
from ops.stack.errors import StackError

SERVICES = ("edge", "auth", "core")
MODULES = {"edge": "edge", "auth": "auth_service", "core": "core_service"}
_SOCKET_BYTES_MAX = 107 if sys.platform == "linux" else 103
_LONGEST_SOCKET = "edge-admin.sock"


def own_as(folder: Path, handle: int) -> None:
    """What root opened in somebody's folder is theirs, or they could not write it the next time."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)


class Place(NamedTuple):
    """The state directory, absolute."""

    var: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] | None = None) -> "Place":
        """From GATEHOUSE_VAR, wherever settings are read; `var` below the working directory without it.

        Raises StackError when those places cannot be read.
        """
        try:
            given = settings.variable("GATEHOUSE_VAR", environ) or "var"
        except SettingsError as error:
            raise StackError(str(error)) from None
        # Not resolve(): var may be a link, and its own name is what people know.
        return cls(Path(os.path.abspath(Path(given).expanduser())))  # noqa: PTH100

    @property
    def run(self) -> Path:
        return self.var / "run"

    @property
    def logs(self) -> Path:
        return self.var / "logs"

    @property
    def credentials(self) -> Path:
        return self.var / "gatehouse.json"

    @property
    def lock(self) -> Path:
        return self.run / "stack.lock"

    @property
    def control(self) -> Path:
        return self.run / "control.sock"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Make the directories. Raises StackError when that cannot be, or a socket in them could not be bound."""
        if len(os.fsencode(self.run / _LONGEST_SOCKET)) > _SOCKET_BYTES_MAX:
            raise StackError(
                f"{self.var} is too long a path for Unix sockets in it: set GATEHOUSE_VAR to a shorter one"
            )
        try:
            self.var.mkdir(parents=True, exist_ok=True)
            for folder in (self.run, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"{error.filename} cannot be made: {error.strerror}; set GATEHOUSE_VAR to another place"
            ) from None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds the stack's lock. Raises StackError when another controller has it."""
        try:
            lock = self.lock.open("a+b")
        except OSError as error:
            raise StackError(f"{self.lock} cannot be written: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(self._already_running()) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
            lock.flush()
            yield

    def holder(self) -> int | None:
        """The process id of the controller that runs over this directory; None when none does."""
        try:
            with self.lock.open("r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Empty for the moment between taking the lock and writing into it: somebody is there, nobody to signal.
            return int(self.lock.read_text().strip() or 0)
        except OSError:
            return None
        return None

    def _already_running(self) -> str:
        pid = self.lock.read_text().strip()
        return (
            f"a stack over {self.var} already runs (pid {pid}); `gatehouse status` shows it, `gatehouse down` stops it"
        )
