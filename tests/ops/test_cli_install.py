"""What `make` does before anything else, and what it says when it cannot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops import install

TOP = Path(__file__).resolve().parents[2]


def make(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "-C", str(TOP), "--no-print-directory", *words],
        env={**own, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_comes_first_and_lists_every_target() -> None:
    listed = re.findall(r"^  make (\S+) +\S", make().stdout, re.MULTILINE)
    assert listed[0] == "help"
    phony = re.search(r"^\.PHONY: (.+)$", (TOP / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(listed) == set(phony[1].split()) - {"venv", "venv-dev"}


def test_a_missing_python_is_one_sentence() -> None:
    done = make("run", "PYTHON=python-that-is-not-there")
    assert done.returncode != 0
    assert done.stderr.startswith("error: python-that-is-not-there is not there; install Python 3.11 or newer")


def test_an_old_python_is_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    pretending = 'import sys; sys.version_info = (3, 8, 18, "final", 0); exec(sys.argv[1])'
    old.write_text(f"#!/bin/sh\nshift; exec {sys.executable} -c '{pretending}' \"$@\"\n")
    old.chmod(0o755)
    done = make("run", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stderr.startswith("error: this is Python 3.8; install 3.11 or newer, or name one: make PYTHON=")


def test_a_python_without_venv_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert install.main("requirements.lock") == 1
    assert capsys.readouterr().err == (
        "error: Python's venv module is missing; install it (Debian, Ubuntu: `sudo apt install python3-venv`)\n"
    )


def test_a_package_without_a_wheel_for_this_platform_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "requirements.lock").write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    for name in ("requirements-dev.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    # This interpreter's own environment stands for the new one; nothing can be installed from nowhere.
    (tmp_path / ".venv").symlink_to(sys.prefix)
    stamp = tmp_path / "stamp"
    monkeypatch.setattr(install, "TOP", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "stamp", lambda: stamp)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert install.main("requirements.lock") == 1
    said = capfd.readouterr().err
    assert "no-such-package" in said
    assert re.search(
        r"^error: not every package could be installed on \S+ with Python 3\.\d+\.\d+: ", said, re.MULTILINE
    )
    assert not stamp.exists()


def test_what_is_installed_is_not_installed_again_until_a_lock_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*install.LOCKS, "pyproject.toml"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    stamp = tmp_path / "stamp"
    monkeypatch.setattr(install, "TOP", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "stamp", lambda: stamp)
    assert not install.is_installed("requirements.lock")
    stamp.write_text(install.mark("requirements.lock"))
    assert install.is_installed("requirements.lock")
    assert not install.is_installed("requirements-dev.lock")
    stamp.write_text(install.mark("requirements-dev.lock"))
    assert install.is_installed("requirements.lock")
    (tmp_path / "requirements.lock").write_text("changed")
    assert not install.is_installed("requirements.lock")


def test_a_lock_names_every_package_that_one_of_them_needs() -> None:
    # pip chooses nothing, so what a lock lacks would be missing.
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
