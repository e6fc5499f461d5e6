"""Starts Python children that end with us, and ends those that an earlier controller left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

import ops.embedded.launcher
from common.supervisor.release import interpreter

LAUNCHER = Path(ops.embedded.launcher.__file__)


async def spawn(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    death_signal: signal.Signals,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int,
    stderr: int,
) -> asyncio.subprocess.Process:
    """Run Python with `arguments`, in a session of its own: a Ctrl-C at the terminal is for us alone.

    Installed as a release, the one that is current now runs, not the one that we were started from. Only from the
    main thread: `death_signal` arrives when the thread that started it ends.
    """
    return await asyncio.create_subprocess_exec(
        *dying_with_us([*interpreter(), *arguments], death_signal),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(environ),
        start_new_session=True,
    )


def dying_with_us(words: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """The same program, told by the kernel when the thread that starts it ends."""
    own = [str(os.getpid()), str(int(death_signal)), "-1", "-1"]
    return [sys.executable, "-I", "-S", str(LAUNCHER), *own, *words]


class PidFile:
    """Remembers a child across our own violent death, with its start time: numbers are used again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, pid: int) -> None:
        self._path.write_text(f"{pid} {_started_at(pid)}\n")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def end_leftover(self, seconds: float) -> None:
        """Ends the process that the file names, if it still is that process; blocks up to `seconds`."""
        if not self._path.exists():
            return
        with suppress(ValueError, psutil.Error):
            pid, started_at = self._path.read_text().split()
            process = psutil.Process(int(pid))
            if str(process.create_time()) == started_at:
                _end(process, seconds)
        self.remove()


def _end(process: psutil.Process, seconds: float) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(seconds)


def _started_at(pid: int) -> str:
    with suppress(psutil.Error):
        return str(psutil.Process(pid).create_time())
    return "0"


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def resident_bytes(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
