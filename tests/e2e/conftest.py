"""The stack as a newcomer starts it: one command, an empty directory, default limits."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import state_directory

GATEHOUSE = Path(sys.executable).parent / "gatehouse"
OURS = re.compile(
    r"^(GATEHOUSE_|EDGE_|AUTH_|CORE_|DATABASE_|REDIS_|LIMIT_|ENV$|DOMAINS?$|PORT$|SECRET_|KEY_|ACME|TLS_|LETSENCRYPT_)"
)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        assert self.body.get("success"), self.body
        return self.body["data"]


@dataclass
class Client:
    """HTTP over one stack; `credential` is a whole Authorization value."""

    url: str
    credential: str | None = None

    def as_(self, credential: str) -> "Client":
        return Client(self.url, credential)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        if self.credential:
            request.add_header("Authorization", self.credential)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=40) as response:
                return _answer(response)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error)

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> Answer:
        return self.call("POST", path, body)


def _answer(response: Any) -> Answer:
    raw = response.read()
    return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, json.loads(raw) if raw else {})


@dataclass
class Stack:
    """A running `gatehouse up` and what it printed."""

    directory: Path
    process: subprocess.Popen[bytes]
    environ: dict[str, str]
    output: Path
    client: Client = field(init=False)

    def printed(self) -> str:
        return self.output.read_text()

    def gatehouse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GATEHOUSE, *arguments],
            check=False,
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def credentials(self) -> dict[str, Any]:
        return json.loads((self.directory / "var" / "gatehouse.json").read_text())

    def status(self) -> dict[str, Any]:
        return json.loads(self.gatehouse("status", "--json").stdout)

    def pid(self, name: str) -> int:
        """Of the service's supervisor, or of PostgreSQL or Valkey."""
        return next(entry["pid"] for entry in self.entries() if name in (entry["name"], entry.get("title")))

    def entries(self) -> list[dict[str, Any]]:
        status = self.status()
        return [*status["services"], *status["servers"]]


StartStack = Callable[..., Stack]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`; connection failures count as false."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (OSError, ValueError, StopIteration):
            pass
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s: {what}")


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    import socket

    def find(count: int) -> list[int]:
        sockets = [socket.socket() for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
        for one in sockets:
            one.close()
        return ports

    return find


@pytest.fixture(scope="module")
def start_stack(free_ports: Callable[[int], list[int]]) -> Iterator[StartStack]:
    """`start_stack(directory, NAME=value)`; every stack is stopped at the end, whatever happened to it."""
    started: list[Stack] = []

    def start(directory: Path, **given: str) -> Stack:
        edge, auth, core = free_ports(3)
        inherited = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        ports = {"EDGE_PORT": str(edge), "AUTH_PORT": str(auth), "CORE_PORT": str(core)}
        environ = {**inherited, **ports, **given}
        output = directory / f"output{len(started)}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen([GATEHOUSE, "up"], cwd=directory, env=environ, stdout=file, stderr=file)
        stack = Stack(directory, process, environ, output)
        started.append(stack)
        wait_until(lambda: process.poll() is not None or "curl " in stack.printed(), 60, "the status box")
        assert process.poll() is None, stack.printed()
        stack.client = Client(f"http://127.0.0.1:{environ['EDGE_PORT']}")
        return stack

    yield start
    for stack in started:
        if stack.process.poll() is None:
            stack.process.send_signal(signal.SIGINT)
            stack.process.wait(15)


@pytest.fixture(scope="module")
def empty_directory() -> Iterator[Path]:
    with state_directory() as var:
        yield var.parent
