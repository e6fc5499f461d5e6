"""Makes a release from a source, beside those that are there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ops.release import source as sources
from ops.release.home import DESCRIPTION, Home, Release, ReleaseError, replace
from ops.release.source import Source

# A release needs this much: its environment, most of it PostgreSQL's and Valkey's programs.
ENVIRONMENT_BYTES = 600_000_000
_PYTHON = re.compile(r">=\s*(\d+)\.(\d+)")

Fill = Callable[[Path], None]


def install(source: Path | Source, home: Home, *, fill: Fill | None = None) -> Release:
    """The release made from `source`, complete; the one that is there when its content is the same.

    An environment cannot be moved (its scripts and its path to the source are absolute), so a release is made at its
    final path and becomes one by the file `release.json`, written last. What was left unfinished is made anew.
    `fill` makes `.venv` below the path it is given (default: from requirements.lock, by hash).
    Raises ReleaseError, and then nothing of it is left.
    """
    given = source if isinstance(source, Source) else sources.read(source)
    with home.locked():
        return install_locked(given, home, fill=fill)


def install_locked(source: Source, home: Home, *, fill: Fill | None = None) -> Release:
    """`install` for those who hold the lock."""
    digest = source.digest
    name = _name(source, digest, home)
    if done := home.release(name):
        return done
    path = home.releases / name
    check_machine(source, home)
    try:
        shutil.rmtree(path, ignore_errors=True)
        _write(source, path, name)
        (fill or fill_from_lock)(path)
        _compile(path)
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        told = {"version": name, "digest": digest, "commit": source.commit, "installed_at": now}
        replace(path / DESCRIPTION, json.dumps(told, indent=2) + "\n")
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise ReleaseError(f"release {name} cannot be written: {error.strerror}: {error.filename}") from None
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return Release(path, digest, source.commit, now)


def check_machine(source: Source, home: Home) -> None:
    """Raises ReleaseError when this Python or this disk will not do."""
    wanted = _PYTHON.search(source.requires_python)
    if wanted and sys.version_info[:2] < (int(wanted[1]), int(wanted[2])):
        raise ReleaseError(
            f"version {source.version} needs Python {wanted[1]}.{wanted[2]} or newer, this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}: install it and run this command with it"
        )
    free = shutil.disk_usage(home.releases).free
    if free < ENVIRONMENT_BYTES + source.size:
        needed = (ENVIRONMENT_BYTES + source.size) // 1_000_000
        raise ReleaseError(f"{home.releases} has {free // 1_000_000} MB free, a release needs {needed} MB: make room")


def fill_from_lock(path: Path) -> None:
    """The release's own `ops/install.py` under our interpreter: packages by hash, then the release itself."""
    done = subprocess.run(
        [sys.executable, "-I", str(path / "ops" / "install.py"), "requirements.lock"],
        stdout=sys.stderr,
        umask=0o022,  # the services' user must be able to read it
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"the packages of release {path.name} could not be installed: see above")


def _name(source: Source, digest: str, home: Home) -> str:
    """The version alone, unless it is taken by other content."""
    marks = [mark for mark in (source.commit and source.commit[:7], digest[:12]) if mark]
    names = [source.version, *(f"{source.version}+{mark}" for mark in marks)]
    for name in names:
        there = home.release(name)
        if there is None or there.digest == digest:
            return name
    raise ReleaseError(f"all of {', '.join(names)} are taken in {home.releases}")


def _write(source: Source, path: Path, name: str) -> None:
    path.mkdir(parents=True)
    path.chmod(0o755)
    for relative, file in source.files.items():
        target = path / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_named(file.content, name) if relative == "pyproject.toml" else file.content)
        target.chmod(0o755 if file.is_executable else 0o644)
    for folder in (folder for folder in path.rglob("*") if folder.is_dir()):
        folder.chmod(0o755)


def _named(project: bytes, name: str) -> bytes:
    """Its pyproject.toml with the release's full name as version: what the services answer under /health."""
    return re.sub(rb'^version = ".*"$', f'version = "{name}"'.encode(), project, count=1, flags=re.MULTILINE)


def _compile(path: Path) -> None:
    """Bytecode for every source, because the services' user may not write it."""
    folders = [str(path / folder) for folder in sources.FOLDERS if folder != "docs"]
    python = path / ".venv" / "bin" / "python"
    done = subprocess.run([str(python), "-m", "compileall", "-q", *folders], cwd=path, umask=0o022, check=False)
    if done.returncode:
        raise ReleaseError(f"release {path.name} does not compile: see above")
