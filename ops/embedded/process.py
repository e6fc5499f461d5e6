"""Starts, finds and ends server processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ops.embedded.account import Owner

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_SECONDS = 0.01

# Nothing of ours leaks in: PGDATA, PGPORT, PGOPTIONS or a locale of the user would change what the programs do.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C", "TZ": "UTC"}


def spawn(
    argv: Sequence[str | Path],
    *,
    owner: Owner | None,
    death_signal: signal.Signals,
    stdin: int = subprocess.DEVNULL,
    output: IO[bytes] | int = subprocess.DEVNULL,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> subprocess.Popen[bytes]:
    """Start argv as `owner`, in a session of its own so that a Ctrl-C at the terminal reaches only us."""
    uid, gid = (owner.uid, owner.gid) if owner else (-1, -1)
    words = [sys.executable, "-I", "-S", LAUNCHER, os.getpid(), int(death_signal), uid, gid, *argv]
    return subprocess.Popen(
        [str(word) for word in words],
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",  # our own directory may be closed to the owner
        env=dict(environment),
        start_new_session=True,
    )


def run(argv: Sequence[str | Path], *, owner: Owner | None, text: str = "", timeout: float = 120) -> tuple[int, str]:
    """Run a short program as `owner` with `text` on its input; (exit status, everything it said)."""
    process = spawn(argv, owner=owner, death_signal=signal.SIGTERM, stdin=subprocess.PIPE, output=subprocess.PIPE)
    try:
        output, _ = process.communicate(text.encode(), timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, output.decode(errors="replace")


def running_over(directory: Path) -> list[int]:
    """The processes whose working directory is `directory`: both servers change into their data directory.

    Without /proc (macOS) processes are known by the directory's path in their command line.
    """
    if not Path("/proc/self/cwd").exists():
        return _named_in_ps(directory)
    wanted = str(directory.resolve())
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or not ours to look at
            if str((entry / "cwd").readlink()) == wanted:
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid() and _lives(pid)]


def end(pids: Callable[[], Sequence[int]], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn to the processes that `pids` still finds, and wait that many seconds for none.

    Only to those at the top: a parent ends its own children in order, and takes a signal to one of them for a crash.
    """
    for number, seconds in steps:
        for pid in _tops(pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(lambda: not pids(), seconds):
            return


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False when the time is over first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _tops(pids: Sequence[int]) -> list[int]:
    """Those whose parent is not among them; all of them where there is no /proc."""
    return [pid for pid in pids if _parent(pid) not in pids]


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        # The name stands in brackets and may hold anything; the state and the parent follow it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _lives(pid: int) -> bool:
    """A zombie holds nothing any more, though its parent has not collected it yet."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"}
    return False


def _named_in_ps(directory: Path) -> list[int]:
    listing = subprocess.run(["ps", "-axwwo", "pid=,command="], capture_output=True, text=True, check=False).stdout
    rows = (line.split(None, 1) for line in listing.splitlines())
    return [int(pid) for pid, command in rows if str(directory) in command and int(pid) != os.getpid()]
