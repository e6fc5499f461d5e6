"""What the image promises, read from the Dockerfile; and its health check, run as the image runs it."""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from ops.docker.probe import probe, wanted
from tests.ops.answering import answering

ROOT = Path(__file__).resolve().parents[2]
BASE = "python:3.13-slim"


class Instruction(NamedTuple):
    word: str
    rest: str


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


def rest_of(instructions: list[Instruction], word: str) -> list[str]:
    return [instruction.rest for instruction in instructions if instruction.word == word]


def test_the_classic_builder_can_build_it(instructions: list[Instruction]) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not text.lower().startswith(("# syntax", "#syntax"))
    assert not any("--mount" in rest or "<<" in rest for rest in rest_of(instructions, "RUN"))
    assert not any(flag in rest for rest in rest_of(instructions, "COPY") for flag in ("--link", "--chmod", "<<"))


def test_it_is_built_in_stages_and_the_last_one_is_for_production(instructions: list[Instruction]) -> None:
    stages = rest_of(instructions, "FROM")
    assert stages == [f"{BASE} AS build", f"{BASE} AS base", "base AS development", "base AS runtime"]


def test_every_process_runs_as_uid_1000(instructions: list[Instruction]) -> None:
    assert rest_of(instructions, "USER") == ["1000:1000"]
    after_user = instructions[instructions.index(Instruction("USER", "1000:1000")) :]
    assert not any(instruction.word in {"RUN", "COPY", "ADD"} for instruction in after_user)


def test_dependencies_come_from_the_lock_with_hashes_and_leave_no_cache(instructions: list[Instruction]) -> None:
    installs = [rest for rest in rest_of(instructions, "RUN") if " install " in rest and "pip" in rest]
    assert len(installs) == 2
    assert all("--no-cache-dir" in install for install in installs)
    assert "--require-hashes" in installs[0]
    assert installs[0].endswith("-r /build/requirements.lock")
    assert all("--no-deps" in install for install in installs)  # else pip may want a release newer than the lock's


def test_only_the_packages_are_copied(instructions: list[Instruction]) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {rest.split()[0] for rest in rest_of(instructions, "COPY") if not rest.startswith("--from=")}
    assert copied == {"requirements.lock", "pyproject.toml", *(package.rstrip("*") for package in packages)}
    assert not rest_of(instructions, "ADD")


def test_the_builder_never_sees_state_secrets_history_or_tests() -> None:
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
    assert ignored >= {".git", ".env", ".env.*", "var", "tests", ".venv", "**/__pycache__", "**/*.key", "**/*.pem"}
    assert not any(line.startswith("!") for line in ignored)


def test_the_health_check_asks_as_often_as_promised(instructions: list[Instruction]) -> None:
    [check] = rest_of(instructions, "HEALTHCHECK")
    for option in ("--interval=30s", "--timeout=10s", "--start-period=5s", "--retries=3"):
        assert option in check.split()


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (204, 1), (301, 1), (404, 1), (500, 1), (503, 1)])
def test_only_a_200_is_healthy(instructions: list[Instruction], status: int, exit_status: int) -> None:
    [check] = rest_of(instructions, "HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    assert command[0] == "python"
    words = [sys.executable, *(word.replace("/app/", f"{ROOT}/") for word in command[1:])]
    with answering(status) as port:
        # A proxy where nobody listens: the check must not use it.
        environ = {
            **os.environ,
            "HEALTHCHECK_URL": f"http://127.0.0.1:{port}/health",
            "http_proxy": "http://127.0.0.1:9",
        }
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == exit_status, done.stdout + done.stderr
    assert done.stdout.strip() == "healthy" if status == 200 else f"answered {status}" in done.stdout


def test_the_platforms_port_is_the_one_that_is_asked() -> None:
    assert wanted({}) == "http://127.0.0.1:8080/health"
    assert wanted({"PORT": "10000"}) == "http://127.0.0.1:10000/health"
    assert wanted({"PORT": "10000", "EDGE_PORT": "9000"}) == "http://127.0.0.1:9000/health"
    assert wanted({"PORT": "10000", "HEALTHCHECK_URL": "http://127.0.0.1:8081/x"}) == "http://127.0.0.1:8081/x"


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_auth_and_core_are_not_opened_to_the_world_by_the_image(instructions: list[Instruction]) -> None:
    assert not any("AUTH_HOST" in rest or "CORE_HOST" in rest for rest in rest_of(instructions, "ENV"))


def test_a_server_that_hangs_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "TimeoutError" in (probe(f"http://127.0.0.1:{port}/health", 0.2) or "")


def test_a_server_that_is_not_there_is_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "ConnectionRefusedError" in (probe(f"http://127.0.0.1:{port}/health") or "")
