import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import PACKAGES, tool

CI = Path(__file__).parents[2] / ".ci"
NOBODY = 65534


@pytest.fixture
def empty_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name, path: None)


def test_an_absent_tool_skips_its_test_naming_the_package(empty_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"nginx is not installed: apt-get install nginx-light"):
        tool("nginx")


def test_an_absent_tool_fails_its_test_where_tools_are_required(
    empty_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install apache2-utils"):
        tool("ab")


def test_docker_is_required_nowhere(empty_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.skip.Exception):
        tool("docker")


def test_a_tool_nobody_installs_fails_its_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="does not know"):
        tool("no-such-program")


def test_ci_installs_every_package_the_tests_need() -> None:
    line = next(line for line in (CI / "tools").read_text().splitlines() if line.startswith("packages=("))
    assert set(line.removeprefix("packages=(").removesuffix(")").split()) == set(PACKAGES.values())


@pytest.fixture
def bare_machine() -> Iterator[str]:
    """A PATH on which `dpkg-query` knows no package and `apt-get` must not run; anybody may read it."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-tests-") as folder:
        Path(folder).chmod(0o755)
        for name, body in {"dpkg-query": "exit 1", "apt-get": "echo apt-get ran"}.items():
            program = Path(folder, name)
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        yield f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_without_root_the_tools_are_asked_for_in_one_sentence(bare_machine: str) -> None:
    done = subprocess.run(
        ["bash", "-s"],
        input=(CI / "tools").read_text(),
        env={"PATH": bare_machine},
        user=NOBODY if os.geteuid() == 0 else None,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "needs root; as root: apt-get install" in done.stderr
    assert "apt-get ran" not in done.stdout + done.stderr


def test_ci_scripts_pass_shellcheck() -> None:
    command = [tool("shellcheck"), "--severity=warning", str(CI / "run"), str(CI / "tools")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
