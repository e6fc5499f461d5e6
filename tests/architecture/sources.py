"""What the project's files are: shared by the tests of its shape."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge", "auth_service", "core_service", "common", "ops")


def python_files() -> list[Path]:
    """Every Python file of the packages, in order."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def parsed() -> Iterator[tuple[str, ast.Module]]:
    """Path below the root, and syntax tree, of every Python file of the packages."""
    for path in python_files():
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def tracked_files() -> list[Path]:
    """Every file that git keeps. Skips where there is no repository, as in a source archive."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name.decode() for name in listing.split(b"\0") if name]
    return [path for path in paths if path.is_file()]
