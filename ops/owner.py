"""Root at work in a directory that belongs to the services' user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(var: Path) -> Iterator[None]:
    """Root acts with the rights of whoever owns the state directory `var`; for anybody else nothing changes.

    What root leaves there is theirs, and a link that they put in its way leads nowhere that they could not go
    themselves. Always the state directory, never a folder in it: they may replace that by a link to one of root's.
    """
    owner = var.stat() if os.geteuid() == 0 else None
    # Where it is root's own there is nobody to become, and some containers would not let us try.
    if owner is None or owner.st_uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
