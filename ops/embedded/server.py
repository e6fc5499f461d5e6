"""What PostgreSQL and Valkey have in common as child processes: one start, one readiness, one end.

Servers are started in the main thread: on Linux the kernel ends a server when the thread that started it ends.
A lock in `var/run` tells a server whose starter still lives (refused) from one left behind (ended cleanly, then started
again over the same files).
"""

import fcntl
import os
import re
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import IO, ClassVar, Self

from ops.embedded.account import Owner, choose_owner
from ops.embedded.binaries import Servers
from ops.embedded.errors import PortTakenError, ServerError
from ops.embedded.home import SHARED, prepare_home
from ops.embedded.process import POLL_SECONDS, end, running_over, spawn

HOST = "127.0.0.1"
START_SECONDS = 60  # after a crash PostgreSQL first replays its log
PORT_ATTEMPTS = 3


class Server(ABC):
    """One server over `var/<name>`; use `with`, or `start()` and `stop()`."""

    title: ClassVar[str]
    name: ClassVar[str]
    log_name: ClassVar[str]
    stop_signals: ClassVar[tuple[tuple[Signals, float], ...]]

    def __init__(
        self,
        var: Path,
        secrets: Mapping[str, str],
        *,
        servers: Servers = "embedded",
        durable: bool = True,
        shared: Path = SHARED,
    ) -> None:
        """`durable=False` gives up safety against power loss for speed: for tests."""
        self.var = Path(os.path.abspath(var))  # noqa: PTH100 - resolve() would follow var itself being a link
        self.secrets = secrets
        self.servers = servers
        self.durable = durable
        self.shared = shared
        self.log_path = self.var / "logs" / self.log_name
        self.port = 0
        self.owner: Owner | None = None
        self.data = self.var / self.name / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """How clients connect, password included; valid once started."""

    @abstractmethod
    def _prepare(self) -> None:
        """Bring the files in `self.data` to where the program can start."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """The program and its arguments."""

    @abstractmethod
    def _answers(self, connection: socket.socket) -> bool:
        """Whether the server on a fresh connection takes requests."""

    @property
    def pid(self) -> int | None:
        """The server's process id while it lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def alive(self) -> bool:
        """Whether the process that we started still runs."""
        return self.pid is not None

    def start(self) -> str:
        """Start, wait until it answers, return the URL.

        Raises ServerError with one sentence; nothing is left running then.
        """
        for attempt in range(PORT_ATTEMPTS):
            self.launch()
            try:
                return self.wait_ready()
            except PortTakenError:
                self._port_file.unlink(missing_ok=True)
                if attempt == PORT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def launch(self) -> None:
        """Start the process without waiting for it. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start servers in the main thread: they end when the thread that started them ends")
        if self.alive():
            return
        try:
            self._take_lock()
            self.owner = choose_owner(self.data)
            self.data = prepare_home(self.var, self.name, self.owner, shared=self.shared) / "data"
            self._end_leftovers()
            self._prepare()
            self.port = self._choose_port()
            self._spawn()
        except OSError as error:
            self._drop_lock()
            raise ServerError(f"{self.title} cannot be started: {error.strerror}: {error.filename}") from error
        except BaseException:
            self._drop_lock()
            raise

    def wait_ready(self) -> str:
        """Wait until it answers and return the URL; on failure it is stopped and ServerError says why."""
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """End it cleanly, less cleanly when it takes too long; afterwards nothing of it runs."""
        process = self._process
        if process is None:
            self._drop_lock()
            return
        for number, seconds in self.stop_signals:
            if process.poll() is None:
                process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        self._process = None
        self._end_leftovers()
        self._drop_lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _port_file(self) -> Path:
        return self.var / "run" / f"{self.name}.port"

    def _choose_port(self) -> int:
        """Last time's port where it is free, so that a URL somebody copied keeps working."""
        with suppress(OSError, ValueError):
            remembered = int(self._port_file.read_text())
            if _is_free(remembered):
                return remembered
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        self._port_file.write_text(f"{port}\n")
        return port

    def _take_lock(self) -> None:
        run = self.var / "run"
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            lock = (run / f"{self.name}.lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise ServerError(f"{self.title} over {self.var} already runs; stop that stack first") from None
            self._lock = lock

    def _drop_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _end_leftovers(self) -> None:
        """End what an earlier starter left behind over our files, or what outlived the process we started."""
        if self.data.exists() and running_over(self.data):
            end(lambda: running_over(self.data), self.stop_signals)

    def _spawn(self) -> None:
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as log:
            self._log_start = log.tell()
            self._process = spawn(self._command(), owner=self.owner, death_signal=self.stop_signals[0][0], output=log)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._probe():
            if not self.alive():
                raise self._failure()
            if time.monotonic() > deadline:
                raise ServerError(f"{self.title} did not answer within {START_SECONDS} s; see {self.log_path}")
            time.sleep(POLL_SECONDS)

    def _probe(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
            return self._answers(connection) and self.alive()
        return False

    def _failure(self) -> ServerError:
        reason = self._reason()
        if "ddress already in use" in reason:
            return PortTakenError(f"{self.title} cannot listen on port {self.port}: it is in use")
        return ServerError(f"{self.title} did not start: {reason} (see {self.log_path})")

    def _reason(self) -> str:
        """What this start wrote to the log, cut down to its complaint."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        if any("ddress already in use" in line for line in lines):
            return "Address already in use"
        worst = [match[2] for line in lines if (match := re.search(r"(FATAL|DETAIL|Fatal error)[:,]\s+(.*)", line))]
        return "; ".join(worst[:2]) or (lines[-1] if lines else "it said nothing")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do; ignores closed connections
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
