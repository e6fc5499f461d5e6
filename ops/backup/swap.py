"""Files that take the place of others, all at once and back again if need be."""

import os
import shutil
import tempfile
from pathlib import Path

from ops.backup.files import sync
from ops.stack.place import Place

_PREFIX = ".restore-"


class Swap:
    """Files are put aside first, in the state directory; then `apply()` renames, which `undo()` takes back.

    What belonged to somebody else than us (we are root, the stack is not) belongs to them afterwards.
    """

    def __init__(self, place: Place) -> None:
        place.var.mkdir(parents=True, exist_ok=True)
        # Of a restore that was killed, perhaps with the only copy of a secret: it goes when this one stands.
        self._leftovers = list(place.var.glob(f"{_PREFIX}*"))
        self._aside = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place.var))
        self._owner = place.var.stat()
        self._pairs: list[tuple[Path, Path | None]] = []
        self._done: list[tuple[Path, Path | None]] = []

    def stage(self) -> Path:
        """A new empty directory to fill; 0700."""
        return Path(tempfile.mkdtemp(dir=self._aside))

    def put(self, staged: Path | None, target: Path) -> None:
        """`staged` is to become `target`; None: there is to be no such file."""
        if staged is not None:
            self._give(staged)
        self._pairs.append((target, staged))

    def apply(self) -> None:
        """Raises OSError; `undo()` then brings everything back."""
        for target, staged in self._pairs:
            before: Path | None = None
            if os.path.lexists(target):
                before = self.stage() / "before"
                if staged is not None and target.is_file():
                    _copy_rights(target, staged)
                shutil.move(target, before)
            self._done.append((target, before))
            if staged is not None:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.move(staged, target)  # a rename, unless the target is on another file system
        for folder in {target.parent for target, _ in self._done if target.parent.is_dir()}:
            sync(folder)  # before the database's commit is on disk

    def undo(self) -> None:
        for target, before in reversed(self._done):
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if before is not None:
                shutil.move(before, target)
        self._done.clear()

    def keep(self) -> None:
        """What was applied stands."""
        self._done.clear()
        for leftover in self._leftovers:
            shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """Removes what is aside: what was replaced, after an `apply()` that stands; never the only copy of anything."""
        if not self._done:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _give(self, staged: Path) -> None:
        if os.geteuid() == 0 and self._owner.st_uid != 0:
            for path in (staged, *staged.rglob("*")):
                os.lchown(path, self._owner.st_uid, self._owner.st_gid)


def _copy_rights(before: Path, after: Path) -> None:
    """A settings file belongs to root and is read by a group."""
    known = before.stat()
    after.chmod(known.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.lchown(after, known.st_uid, known.st_gid)
