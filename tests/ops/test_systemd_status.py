"""On a host, where systemd keeps the services, the same commands tell what runs and who is to be asked."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

from tests.ops.stacks import Stack

ORDER = ("edge", "auth", "core")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    stack = Stack(tmp_path / "var")
    (tmp_path / "bin").mkdir()
    stack.environ["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return stack


@pytest.fixture
def processes() -> Iterator[list[int]]:
    """Three that live."""
    with ExitStack() as running:
        started = [running.enter_context(Popen(["sleep", "60"])) for _ in ORDER]
        for process in started:
            running.callback(process.kill)
        yield [process.pid for process in started]


def systemctl(stack: Stack, states: list[str], pids: list[int], var: Path | None = None) -> None:
    """Puts one in the path that says this of the units over `var`."""
    blocks = "\n\n".join(
        f"MainPID={pid}\nNRestarts=2\nId=gatehouse-{name}.service\nLoadState=loaded\nActiveState={state}\n"
        f"Environment=PYTHONSAFEPATH=1 GATEHOUSE_VAR={var or stack.var}"
        for name, state, pid in zip(ORDER, states, pids, strict=True)
    )
    program = stack.var.parent / "bin" / "systemctl"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{blocks}\nEND\n")
    program.chmod(0o755)


def test_status_shows_the_units(stack: Stack, processes: list[int]) -> None:
    systemctl(stack, ["active", "active", "activating"], processes)
    done = stack.gatehouse("status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 1  # nothing answers behind these processes
    assert (status["state"], status["manager"], status["readiness"]) == ("starting", "systemd", "unavailable")
    assert [(entry["name"], entry["state"], entry["pid"], entry["restarts"]) for entry in status["services"]] == [
        (name, state, pid, 2)
        for name, state, pid in zip(ORDER, ("running", "running", "starting"), processes, strict=True)
    ]
    assert all(0 <= entry["uptime_seconds"] < 60 and entry["memory_bytes"] > 0 for entry in status["services"])
    assert f"kept by systemd, state in {stack.var}" in stack.gatehouse("status").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["down"], "to stop it, sudo systemctl stop gatehouse.target"),
        (["up"], "to start it, sudo systemctl start gatehouse.target"),
        (["up", "--detach"], "to start it, sudo systemctl start gatehouse.target"),
        (["dev"], "to start it, sudo systemctl start gatehouse.target"),
    ],
)
def test_what_is_systemds_to_do_is_left_to_it(
    stack: Stack, processes: list[int], words: list[str], sentence: str
) -> None:
    systemctl(stack, ["active", "active", "failed"], processes)
    done = stack.gatehouse(*words)
    assert (done.returncode, done.stderr) == (1, f"error: systemd keeps the stack over {stack.var}: {sentence}\n")


def test_reload_names_every_fault_and_asks_for_nothing(stack: Stack, processes: list[int], tmp_path: Path) -> None:
    systemctl(stack, ["active", "active", "active"], processes)
    program = tmp_path / "bin" / "systemctl"
    program.write_text(program.read_text().replace("cat <<", f'[ "$1" = show ] || touch {tmp_path}/asked\ncat <<', 1))
    (stack.var / "secrets").mkdir(parents=True)
    for name in ("LIMIT_AUTH", "TRUSTED_PROXIES"):
        (stack.var / "secrets" / name).write_text("nonsense")
    done = stack.gatehouse("reload")
    assert done.returncode == 1
    assert "edge: LIMIT_AUTH: " in done.stderr
    assert "edge: TRUSTED_PROXIES: 'nonsense' is no address" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_units_over_another_state_directory_or_stopped_ones_do_not_count(stack: Stack, processes: list[int]) -> None:
    nothing = f"nothing is running over {stack.var}\n"
    systemctl(stack, ["active", "active", "active"], processes, var=Path("/var/lib/gatehouse"))
    assert stack.gatehouse("status").stdout == nothing
    systemctl(stack, ["inactive", "inactive", "failed"], [0, 0, 0])
    assert stack.gatehouse("status").stdout == nothing
    assert stack.gatehouse("down").returncode == 0
