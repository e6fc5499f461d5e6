"""Where releases are kept, and which of them is current."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from common.supervisor import release as running
from ops.stack.errors import StackError

DEFAULT_HOME = Path("/opt/gatehouse")
KEEP = 3
DESCRIPTION = "release.json"
_REMOVED = ".removed-"


class ReleaseError(StackError):
    """The text is one sentence: what could not be done, and what to do about it."""


@dataclass(frozen=True)
class Release:
    """A complete installation.

    name     its directory's name: the version, with a suffix where that was taken by other content
    version  what `/health` answers; the same as `name`
    digest   of the source it was made from, in hexadecimal
    commit   the source's git commit, when it was known
    """

    path: Path
    digest: str
    commit: str | None
    installed_at: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def version(self) -> str:
        return self.path.name

    @property
    def home(self) -> "Home":
        return Home(self.path.parent.parent)

    def command(self, module: str, *words: str) -> list[str]:
        """`python -m module` of this release, whatever the working directory holds."""
        return [str(self.path / ".venv" / "bin" / "python"), "-P", "-m", module, *words]


@dataclass(frozen=True)
class Home:
    """The directory of all releases."""

    path: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] | None = None) -> "Home":
        """GATEHOUSE_HOME; else where the running release is; else /opt/gatehouse."""
        given = (os.environ if environ is None else environ).get("GATEHOUSE_HOME")
        found = Path(given) if given else running.home(sys.executable) or DEFAULT_HOME
        return cls(found.expanduser().resolve())

    @property
    def releases(self) -> Path:
        return self.path / "releases"

    @property
    def current(self) -> Path:
        return self.path / "current"

    def release(self, name: str) -> Release | None:
        """By name; None when it is not there or was never completed."""
        path = self.releases / name
        try:
            told: dict[str, Any] = json.loads((path / DESCRIPTION).read_text())
        except (OSError, ValueError):
            return None
        return Release(path, told["digest"], told["commit"], told["installed_at"])

    def installed(self) -> list[Release]:
        """Every complete release, the oldest first."""
        names = sorted(path.name for path in self.releases.glob("*")) if self.releases.is_dir() else []
        found = [release for name in names if (release := self.release(name))]
        return sorted(found, key=lambda release: release.installed_at)

    def current_release(self) -> Release | None:
        """What `current` points at."""
        try:
            return self.release(self.current.readlink().name)
        except OSError:
            return None

    def previous_release(self) -> Release | None:
        """What was current before; None when nothing was, or it is gone."""
        past = self.way()[:-1]
        return next((release for name in reversed(past) if (release := self.release(name))), None)

    def way(self) -> list[str]:
        """The releases that were current one after the other, up to the one that is."""
        current = self.current_release()
        if current is None:
            return []
        try:
            known: list[str] = json.loads((self.path / "activated.json").read_text())
        except (OSError, ValueError):
            known = []
        # The link is the truth: it may have been switched by hand, or by an upgrade that was killed after writing.
        return [*known[: known.index(current.name)], current.name] if current.name in known else [*known, current.name]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One installation or upgrade at a time. Raises ReleaseError when another is at work or we may not write."""
        try:
            for folder in (self.path, self.releases):
                if not folder.is_dir():
                    folder.mkdir(parents=True)
                    folder.chmod(0o755)  # whatever the umask: the services' user passes through
            file = (self.path / "upgrade.lock").open("a")
        except OSError as error:
            raise ReleaseError(f"{error.filename} cannot be written: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ReleaseError(f"another installation or upgrade in {self.path} is at work") from None
            yield


def activate(release: Release) -> None:
    """Makes it current for whatever starts from now on. Going back to an earlier one forgets what came after it."""
    home = release.home
    way = home.way()
    way = way[: way.index(release.name)] if release.name in way else way
    try:
        replace(home.path / "activated.json", json.dumps([*way, release.name]) + "\n")
        _link(home.current, Path("releases") / release.name)
    except OSError as error:
        raise ReleaseError(f"{home.current} cannot be switched: {error.strerror}") from None


def replace(path: Path, text: str, *, mode: int = 0o644) -> None:
    """The whole file or the one before, never a part."""
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # or a power cut leaves an empty one
    aside.chmod(mode)
    aside.rename(path)


def prune(home: Home, *, keep: int = KEEP) -> list[str]:
    """Removes the oldest releases beyond `keep`; never the current, the one before it, or one in use. Their names."""
    kept = {release.name for release in (home.current_release(), home.previous_release()) if release}
    candidates = [release for release in home.installed() if release.name not in kept]
    excess = candidates[: max(0, len(candidates) - max(0, keep - len(kept)))]
    removed = [release for release in excess if not _is_in_use(release)]
    for release in removed:
        (release.path / DESCRIPTION).unlink()  # half a release is none
        release.path.rename(release.path.with_name(f"{_REMOVED}{release.name}"))
    # Those of an earlier time too, which may have been cut short.
    for path in home.releases.glob(f"{_REMOVED}*"):
        shutil.rmtree(path)
    return [release.name for release in removed]


def _link(path: Path, target: Path) -> None:
    """rename(2) replaces the old link in one step: at no moment is there none."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.rename(path)


def _is_in_use(release: Release) -> bool:
    """Whether a process that we can see runs from it: a service's parent lives through many upgrades.

    One that was started through `current` shows it in what it has mapped: programs and libraries of the environment.
    """
    inside = f"{release.path}/"
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(word.startswith(inside) for word in process.cmdline()) or f"{process.cwd()}/".startswith(inside):
                return True
        with suppress(OSError):  # another user's, or a system without /proc
            if f" {inside}" in Path(f"/proc/{process.pid}/maps").read_text(errors="replace"):
                return True
    return False
