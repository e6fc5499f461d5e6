"""Releases of Gatehouse on a host: installed side by side, one of them current, replaced without losing a request.

    /opt/gatehouse/releases/0.2.0/      source and an environment of its own in .venv, filled from requirements.lock
    /opt/gatehouse/releases/0.2.1/
    /opt/gatehouse/current -> releases/0.2.1
    /opt/gatehouse/activated.json       ["0.2.0", "0.2.1"]: the way here, for going back

The first installation, in Python:

    home = Home.find()                                  # GATEHOUSE_HOME, else /opt/gatehouse
    release = install(Path("."), home)                  # a checkout or a .tar.gz; ~20 s; the same content: nothing
    activate(release)                                   # switches `current`, atomically
    release.path / ".venv" / "bin" / "gatehouse"        # its command

`install` and `activate` raise ReleaseError with one sentence, and then leave things as they were. They start and stop
nothing; `upgrade` does, see `upgrading.py`. A release is never changed after it is complete. Its owner is whoever
installs it; everybody may read it.
"""

from ops.release.home import Home, Release, ReleaseError, activate, prune
from ops.release.installing import install

__all__ = ["Home", "Release", "ReleaseError", "activate", "install", "prune"]
