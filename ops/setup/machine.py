"""The machine that is set up, or a directory that stands for it. All that changes anything goes through here."""

import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ops.owner import as_owner
from ops.stack.errors import StackError

COMMAND_SECONDS_MAX = 600


class Machine:
    """Paths are those of the finished machine; with a `root` other than / they are taken below it.

    is_real      programs of the machine may be run, users made, owners given: as root, over /
    only_shows   nothing is changed; whatever would be, counts as changed
    """

    def __init__(self, root: Path = Path("/"), *, only_shows: bool = False) -> None:
        self.root = root.absolute()
        self.is_real = self.root == Path("/")
        self.only_shows = only_shows
        self._written: list[Path] = []

    def at(self, path: str | Path) -> Path:
        """Where it is now."""
        return self.root / str(path).lstrip("/")

    def read(self, path: str | Path) -> str | None:
        """None when it is not there. Raises StackError."""
        with _sentences(self.at(path)):
            try:
                return self.at(path).read_text()
            except FileNotFoundError:
                return None

    def directory(self, path: str | Path, mode: int = 0o755, owner: str = "root", group: str = "root") -> bool:
        """Whether something had to be done. Raises StackError."""
        there = self.at(path)
        with _sentences(there):
            is_new = not there.is_dir()
            if is_new and self.only_shows:
                return True
            there.mkdir(parents=True, exist_ok=True)
            with _opened(there) as folder:
                is_wrong = not self._is_as(os.fstat(folder), mode, owner, group)
                if is_wrong and not self.only_shows:
                    self._give(folder, mode, owner, group)
            return is_new or is_wrong

    def write(self, path: str | Path, text: str, mode: int = 0o644, owner: str = "root", group: str = "root") -> bool:
        """Whole or not at all; whether something had to be done. Raises StackError."""
        there = self.at(path)
        with _sentences(there):
            if self.read(path) == text and self._is_as(there.stat(), mode, owner, group):
                return False
            if not self.only_shows:
                there.parent.mkdir(parents=True, exist_ok=True)
                with _opened(there.parent) as folder:
                    _replace(folder, there.name, text, lambda handle: self._give(handle, mode, owner, group))
            self._written.append(Path(path))
            return True

    def changed(self, folder: Path) -> bool:
        """Whether a file in it has been written."""
        return any(path.is_relative_to(folder) for path in self._written)

    def run(self, *words: str | Path, text: str = "", seconds_max: float = COMMAND_SECONDS_MAX) -> str:
        """A program's standard output; nothing is run where nothing may be changed. Raises StackError."""
        if not self.is_real or self.only_shows:
            return ""
        return self.ask(*words, text=text, seconds_max=seconds_max)

    def ask(self, *words: str | Path, text: str = "", seconds_max: float = COMMAND_SECONDS_MAX) -> str:
        """The same, for a program that changes nothing."""
        line = " ".join(str(word) for word in words)
        try:
            done = subprocess.run(
                [str(word) for word in words],
                input=text,
                capture_output=True,
                text=True,
                timeout=seconds_max,
                check=True,
            )
        except FileNotFoundError:
            raise StackError(f"{words[0]} is not installed, and `{line}` needs it") from None
        except subprocess.TimeoutExpired:
            raise StackError(f"`{line}` did not end within {seconds_max:g} s") from None
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout).strip().splitlines()
            raise StackError(f"`{line}` failed: {' / '.join(said[-3:]) or f'status {error.returncode}'}") from None
        return done.stdout

    def succeeds(self, *words: str | Path) -> bool:
        """Whether a program that changes nothing says yes."""
        if not self.is_real:
            return False
        try:
            self.ask(*words, seconds_max=60)
        except StackError:
            return False
        return True

    def has(self, path: str | Path) -> bool:
        return self.at(path).exists()

    def _is_as(self, found: os.stat_result, mode: int, owner: str, group: str) -> bool:
        return stat.S_IMODE(found.st_mode) == mode and (
            not self.is_real or (found.st_uid, found.st_gid) == (_uid(owner), _gid(group))
        )

    def _give(self, handle: int, mode: int, owner: str, group: str) -> None:
        if self.is_real:
            os.fchown(handle, _uid(owner), _gid(group))
        os.fchmod(handle, mode)


class OfServices(Machine):
    """A state directory. Root writes there as the services' user, who has to read it; all else root does as root."""

    def directory(self, *given: Any, **named: Any) -> bool:
        with as_owner(self.root):
            return super().directory(*given, **named)

    def write(self, *given: Any, **named: Any) -> bool:
        with as_owner(self.root):
            return super().write(*given, **named)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A link is followed only where nobody else could have made it: what it leads to is going to change its owner."""
    is_ours = folder.parent.stat().st_uid == os.geteuid()
    if not is_ours and folder.is_symlink():
        raise StackError(f"{folder} is a link, and not root's alone to make: put the folder itself there, or mount it")
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (0 if is_ours else os.O_NOFOLLOW))
    try:
        yield handle
    finally:
        os.close(handle)


def _replace(folder: int, name: str, text: str, give: Callable[[int], None]) -> None:
    """Never by its path: between two looks at that, whoever owns the folder may have put a link in its place."""
    aside = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(aside, dir_fd=folder)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
        give(handle)
    os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1  # not yet, while only showing


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StackError(f"{error.filename or path} cannot be set up: {error.strerror}") from None
