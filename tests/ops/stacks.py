"""Runs the real command in processes of its own, over a state directory of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from ops.stack.condition import condition
from ops.stack.place import Place

# What would lead a stack of ours to somebody's servers or settings.
_FOREIGN = re.compile(
    r"(DATABASE_URL|REDIS_URL|ENV|NODE_ENV|EMBEDDED|DOMAINS?|.*_PORT|.*_HOST|PORT|LIMIT_.*|MODULES|ACME.*|TLS_.*|LETSENCRYPT_EMAIL)"
)

COMMAND = (sys.executable, "-m", "ops.cli")


class Stack:
    """`gatehouse` over `var`, on ports that were free a moment ago."""

    command: Sequence[str] = COMMAND  # or that of an installed release

    def __init__(self, var: Path, **settings: str) -> None:
        self.var = var
        self.ports = dict(zip(("EDGE_PORT", "AUTH_PORT", "CORE_PORT"), free_ports(3), strict=True))
        own = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
        ports = {name: str(port) for name, port in self.ports.items()}
        self.environ = {**own, **ports, "GATEHOUSE_VAR": str(var), "GATEHOUSE_ENV_FILE": "/nonexistent", **settings}
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['EDGE_PORT']}"

    def gatehouse(self, *words: str, timeout: float = 60, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words],
            env={**self.environ, **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *words: str) -> float:
        """In the foreground of a process of its own; the seconds until it said that it is ready."""
        started = time.monotonic()
        self.output = []
        self.process = subprocess.Popen(
            [*self.command, *(words or ("up",))],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.wait_for_output("/api/v1/me|/health/ready$", 60)
        return time.monotonic() - started

    def wait_for_output(self, pattern: str, seconds: float) -> str:
        """The first line that matches."""
        assert until(lambda: self._line(pattern) or not self.is_running(), seconds), self.text
        line = self._line(pattern)
        assert line, self.text
        return line

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> float:
        """Sends it to the controller alone; the seconds until that has ended."""
        assert self.process
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - started

    def status(self) -> dict[str, Any]:
        """What `gatehouse status --json` prints, without waiting for another interpreter."""
        status = condition(Place(self.var))
        assert status is not None
        return status

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def text(self) -> str:
        return "".join(self.output)

    def credentials(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.var / "gatehouse.json").read_text())
        return content

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As the first admin, with the key in gatehouse.json."""
        request = Request(
            self.url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.credentials()['api_key']}", "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def processes(self) -> dict[int, str]:
        """Everything that runs for this state directory: by its environment, its command line, its directory."""
        found = {}
        for process in psutil.process_iter():
            try:
                if self._belongs(process):
                    found[process.pid] = " ".join(process.cmdline())
            except psutil.Error:
                continue
        return found

    def is_gone(self, seconds: float = 10) -> bool:
        return until(lambda: not self.processes(), seconds)

    def kill_all(self) -> None:
        """Everything at once and without warning."""
        for pid in self.processes():
            with suppress(ProcessLookupError):  # it ended with the one before it
                os.kill(pid, signal.SIGKILL)
        assert self.is_gone()
        if self.process:
            self.process.wait(10)

    def _belongs(self, process: psutil.Process) -> bool:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        var = str(self.var)
        # Parents first: a child's environment is its parent's copy.
        return (
            process.environ().get("GATEHOUSE_VAR") == var
            or any(word.startswith(f"{var}/") for word in process.cmdline())
            or process.cwd().startswith(f"{var}/")
        )

    def _line(self, pattern: str) -> str | None:
        return next((line.strip() for line in list(self.output) if re.search(pattern, line)), None)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                self.output.append(line)


def free_ports(count: int) -> list[int]:
    """Outside of the range from which the system takes ports for outgoing connections."""
    with ExitStack() as held:
        ports = []
        for port in _candidates():
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise AssertionError("no port is free")


def _candidates() -> Iterator[int]:
    start = 20_000 + os.getpid() * 7 % 10_000
    yield from range(start, start + 1000)


def until(condition: Any, seconds: float) -> bool:
    """Polls a condition of other processes, which tell nobody; False when the time is over first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
