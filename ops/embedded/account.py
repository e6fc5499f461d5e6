"""Whom the servers run as when we are root: PostgreSQL refuses root, and a server has no business being it.

No account is created. The servers run under a bare number that no user has, over files of that number. initdb alone
insists on a name for its number in the user database, so it runs (for half a second, in a directory only it can enter)
as a system account that nothing else is running as; the files are handed over before the server first starts.
"""

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ops.embedded.errors import ServerError

# systemd's list of user ids leaves 60578–60705 to others' use, and a container's usual 65,536 ids include them.
OUR_UIDS = range(60578, 60706)
_CLOSED_SHELLS = ("nologin", "false", "sync")


class Owner(NamedTuple):
    """The numbers a server runs under and its files belong to."""

    uid: int
    gid: int


def choose_owner(data: Path) -> Owner | None:
    """None when we are not root. Data that an ordinary user made keep running as that user."""
    if os.geteuid() != 0:
        _refuse_foreign(data)
        return None
    if data.exists():
        there = data.stat()
        if there.st_uid != 0 and there.st_uid not in OUR_UIDS:
            return Owner(there.st_uid, there.st_gid)
    return unused_owner()


def unused_owner() -> Owner:
    """The first of our numbers that is neither a user's nor a group's."""
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    for number in OUR_UIDS:
        if number not in taken and not _is_user(number):
            return Owner(number, number)
    raise ServerError(
        f"every user id from {OUR_UIDS.start} to {OUR_UIDS.stop - 1} is in use; set DATABASE_URL and REDIS_URL"
    )


def named_owner(owner: Owner | None) -> Owner | None:
    """Whom initdb may run as: `owner` where it has a name, else a system account that nothing runs as."""
    if _is_user(owner.uid if owner else os.geteuid()):
        return owner
    if owner is None:
        raise ServerError(f"user id {os.geteuid()} has no name, which initdb needs: add it to /etc/passwd")
    busy = _running_uids()
    for entry in pwd.getpwall():
        if entry.pw_uid != 0 and entry.pw_shell.endswith(_CLOSED_SHELLS) and entry.pw_uid not in busy:
            return Owner(entry.pw_uid, entry.pw_gid)
    raise ServerError("initdb needs a system account that nothing runs as, and this machine has none; set DATABASE_URL")


def give(tree: Path, owner: Owner | None) -> None:
    """Hand a file, or a directory and everything below it, to `owner`; no link is followed.

    The top comes last: as long as it is not handed over, an interrupted change is done again.
    """
    if owner is None or tree.lstat().st_uid == owner.uid:
        return
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in (*folders, *files):
            os.lchown(Path(folder, name), *owner)
    os.lchown(tree, *owner)


def _is_user(uid: int) -> bool:
    """Asked one by one too: a directory service need not list its users."""
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return True
    return False


def _running_uids() -> set[int]:
    """Real, effective, saved and file-system ids of every process (proc(5)); empty without /proc."""
    uids: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            line = next(line for line in status.read_text().splitlines() if line.startswith("Uid:"))
            uids.update(int(word) for word in line.split()[1:])
    return uids


def _refuse_foreign(data: Path) -> None:
    with suppress(FileNotFoundError):
        uid = data.stat().st_uid
        if uid != os.geteuid():
            raise ServerError(f"{data} belongs to user id {uid}: start as that user or as root")
