"""Becomes another program that dies with its parent: the last step before a server's exec.

Run as `python -I -S launcher.py PARENT SIGNAL UID GID PROGRAM ARGUMENTS…`, never imported by the services. It exists
because doing the same in `preexec_fn` runs Python between fork and exec, which deadlocks in a process with threads.

On Linux the kernel sends SIGNAL when the parent's starting thread ends, however it ends (prctl(2), PR_SET_PDEATHSIG).
Elsewhere there is no such promise: a server left behind is stopped by the next start.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, signal: int, uid: int, gid: int, argv: list[str]) -> None:
    """Drop to uid and gid (-1: stay), tie our life to the parent's, and become argv."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    if sys.platform == "linux":
        # After setuid: a change of credentials clears the setting.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - the program and its arguments come from our own parent


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
