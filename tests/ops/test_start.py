"""`gatehouse start` as a platform runs it, and `gatehouse smoke` over what it serves."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.services import routes
from tests.ops.stacks import free_ports, until

COMMAND = (sys.executable, "-m", "ops.cli")
DOMAIN = "app.example.com"
# Not for clients: the edge has no route to them.
INTERNAL = "/internal/"


class Container:
    """What a container would run, without one: nothing but these variables, and a directory that is empty."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port, auth, core = free_ports(3)
        self.output = folder / "output.txt"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ}
        made = ("SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY")
        self.environ = {
            **kept,
            "ENV": "production",
            "PORT": str(self.port),
            "AUTH_PORT": str(auth),
            "CORE_PORT": str(core),
            "DOMAINS": DOMAIN,
            "GATEHOUSE_VAR": str(folder / "var"),
            "LAME_DUCK_SECONDS": "0",
            **{name: secrets.token_urlsafe(33) for name in made},
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen([*COMMAND, "start"], env=self.environ, stdout=output, stderr=output)

    def smoke(self, *words: str) -> "subprocess.CompletedProcess[str]":
        url = f"http://{DOMAIN}:{self.port}"
        return subprocess.run(
            [*COMMAND, "smoke", "--url", url, "--address", "127.0.0.1", *words],
            env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def said(self) -> str:
        return self.output.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def container(tmp_path: Path, empty_database_url: str, clean_redis_url: str) -> Iterator[Container]:
    made = Container(tmp_path, DATABASE_URL=empty_database_url, REDIS_URL=clean_redis_url)
    yield made
    if made.process:
        made.end()


def reached(container: Container, marker: str) -> set[tuple[str, str]]:
    """Method and template of every route that one walk's requests came to."""
    lines = [
        json.loads(line) for line in container.said().splitlines() if marker in line and '"event":"request"' in line
    ]
    services = {line["service"] for line in lines}
    assert services == {"edge", "auth", "core"}
    return {(line["method"], line["route"]) for line in lines if line["service"] != "edge"}


def test_one_container_migrates_serves_everything_and_ends_cleanly(container: Container) -> None:
    container.start()
    assert until(lambda: answers(container), 60), container.said()
    done = container.smoke("--json")
    assert done.returncode == 0, done.stderr + container.said()
    told: dict[str, Any] = json.loads(done.stdout)
    # A walk through everything leaves no endpoint out.
    declared = {(route.method, route.path) for _, route in routes() if not route.path.startswith(INTERNAL)}
    until(lambda: declared <= reached(container, told["requests"]), 10)  # lines leave in batches
    assert declared - reached(container, told["requests"]) == set()
    assert container.end() == 0, container.said()
    assert "migrations: " in container.said()


def answers(container: Container) -> bool:
    """It is ready, or has given up."""
    if container.process is None or container.process.poll() is not None:
        return True
    probe = [sys.executable, "-I", "-S", "ops/docker/probe.py"]
    url = f"http://127.0.0.1:{container.port}/health/ready"
    done = subprocess.run(probe, env={"HEALTHCHECK_URL": url}, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def test_every_fault_is_named_and_nothing_starts(tmp_path: Path) -> None:
    container = Container(
        tmp_path, SECRET_KEY="short", REDIS_URL="", DOMAINS="", DATABASE_URL="postgresql://x@127.0.0.1:9/x"
    )
    container.start()
    assert container.process
    assert container.process.wait(60) == 1
    for name in ("SECRET_KEY", "REDIS_URL", "DOMAINS"):
        assert f"bootstrap: {name}: " in container.said()
    assert '"service"' not in container.said()


def test_a_migration_that_fails_stops_the_start(tmp_path: Path, clean_redis_url: str) -> None:
    container = Container(tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none", REDIS_URL=clean_redis_url)
    container.start()
    assert container.process
    assert container.process.wait(60) == 1
    assert "bootstrap: " in container.said()
    assert '"service"' not in container.said()


def test_a_part_that_dies_ends_the_container(container: Container) -> None:
    container.start()
    assert until(lambda: parts(container), 60), container.said()
    os.kill(parts(container)[0], signal.SIGKILL)
    assert container.process
    assert container.process.wait(60) == 1
    assert "start: core ended with -9, so everything stops" in container.said()


def parts(container: Container) -> list[int]:
    """Core's process, once there is one."""
    assert container.process
    return [pid for pid in children(container.process.pid) if "core_service" in command_line(pid)]


def children(pid: int) -> list[int]:
    """None once it has ended."""
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def command_line(pid: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def test_smoke_says_what_does_not_answer_and_what_it_cannot_use(container: Container) -> None:
    refused = container.smoke()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"http://{DOMAIN}:{container.port} does not answer" in refused.stderr
    wrong = subprocess.run(
        [*COMMAND, "smoke", "--url", "ftp://x"], capture_output=True, text=True, timeout=30, check=False
    )
    assert wrong.returncode == 2
    assert "must be like https://api.example.com" in wrong.stderr
