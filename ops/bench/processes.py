"""The programs that the bench starts: each on a port of its own, ended with the bench by process id."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.stack.process import descendants, dying_with_us

START_SECONDS = 60
_END_SECONDS = 10
_POLL_SECONDS = 0.05


class NotStarted(Exception):
    """A program did not come up; the text says what it said last."""


@dataclass(frozen=True)
class Running:
    """A program with all its processes."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, from /proc, those that have ended included."""
        return sum(map(_cpu_seconds, self.pids))

    @property
    def pids(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]


@contextmanager
def running(
    words: Sequence[str | Path], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Started, listening on `port`, its output in `log`. Raises NotStarted."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            dying_with_us(list(map(str, words)), signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
    try:
        _await_listening(process, port, log)
        yield Running(process.pid, port)
    finally:
        _end(process)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()
            raise NotStarted(said[-1] if said else "it said nothing")
        time.sleep(_POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """What it started, it is to end; what is left of that is ended here."""
    with suppress(psutil.NoSuchProcess):
        left = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        process.kill()
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.wait()


def _cpu_seconds(pid: int) -> float:
    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0
