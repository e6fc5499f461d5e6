"""Sources to install: copies of this checkout, as they are or doctored."""

import shutil
from pathlib import Path

from ops.release.source import FILES, FOLDERS
from tests.releases import ROOT, borrow_environment


def checkout(top: Path, *, version: str | None = None) -> Path:
    """A copy of what this checkout's release is made from, perhaps of another version."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, top / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, top / name)
    if version:
        doctor(top / "pyproject.toml", 'version = "0.2.0"', f'version = "{version}"')
    return top


def small_source(top: Path, version: str = "1.0.0") -> Path:
    """A source of the right shape in which next to nothing is."""
    for folder in ("edge", "auth_service", "core_service", "common", "ops"):
        (top / folder).mkdir(parents=True)
        (top / folder / "__init__.py").write_text("")
    (top / "requirements.lock").write_text("")
    project = f'[project]\nname = "gatehouse"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
    (top / "pyproject.toml").write_text(project)
    return top


def doctor(path: Path, before: str, after: str) -> None:
    """Changes a file of a source."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def borrow(path: Path) -> None:
    """Fills a release's environment without pip: its packages are those of the interpreter that runs the tests."""
    borrow_environment(path, version=path.name)
