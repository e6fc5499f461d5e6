"""What a release is made from: a checkout, or a tarball such as `git archive` or a forge makes."""

import gzip
import hashlib
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ops.release.home import ReleaseError

# Only what runs, and what its host reads. Tests, .git, .venv, var and .env stay where they are.
FOLDERS = ("auth_service", "common", "core_service", "docs", "edge", "ops")
FILES = (
    ".env.example",
    "CHANGELOG.md",
    "DEPLOYMENT.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
)
NEEDED = ("edge", "auth_service", "core_service", "common", "ops", "pyproject.toml", "requirements.lock")
_JUNK = re.compile(r"__pycache__|\..*|.*\.(py[co]|pem|key|egg-info)")
_BYTES_MAX = 200_000_000
_NAME = re.compile(r"[0-9][0-9A-Za-z.+_-]*")


@dataclass(frozen=True)
class File:
    content: bytes
    is_executable: bool


@dataclass(frozen=True)
class Source:
    """Its files by path, and what its pyproject.toml says."""

    files: dict[str, File]
    commit: str | None
    version: str
    requires_python: str

    @property
    def digest(self) -> str:
        """Changes with any path, mode or content."""
        digest = hashlib.sha256()
        for path, file in sorted(self.files.items()):
            content = hashlib.sha256(file.content).hexdigest()
            digest.update(f"{path}\0{file.is_executable}\0{content}\n".encode())
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(file.content) for file in self.files.values())


def read(path: Path) -> Source:
    """Raises ReleaseError when it is no source of Gatehouse."""
    if path.is_dir():
        files, commit = dict(_of_directory(path)), _commit_of(path)
    elif path.is_file():
        files, commit = _of_tarball(path)
    else:
        raise ReleaseError(f"{path} is neither a directory nor a file")
    tops = {name.partition("/")[0] for name in files}
    if missing := [name for name in NEEDED if name not in tops]:
        raise ReleaseError(f"{path} is no source of Gatehouse: {', '.join(missing)} missing")
    project = _project(files["pyproject.toml"].content, path)
    return Source(files, commit, str(project["version"]), str(project.get("requires-python", "")))


def is_wanted(name: str) -> bool:
    """Whether a path below the top belongs into a release."""
    parts = PurePosixPath(name).parts
    if len(parts) == 1:
        return name in FILES
    return parts[0] in FOLDERS and not any(_JUNK.fullmatch(part) for part in parts)


def _of_directory(top: Path) -> Iterator[tuple[str, File]]:
    for path in _walk(top):
        yield path.relative_to(top).as_posix(), File(path.read_bytes(), bool(path.stat().st_mode & 0o100))


def _walk(top: Path) -> Iterable[Path]:
    """Regular files only: what a link points at need not exist on the host."""
    candidates = [*(top / name for name in FILES), *(path for name in FOLDERS for path in (top / name).rglob("*"))]
    for path in candidates:
        if is_wanted(path.relative_to(top).as_posix()) and path.is_file() and not path.is_symlink():
            yield path


def _of_tarball(path: Path) -> tuple[dict[str, File], str | None]:
    """Read by hand, so that nothing in it can reach outside: only regular files under names of our own choosing."""
    files, size = {}, 0
    try:
        with tarfile.open(path, "r:*") as archive:
            for name, member in _inside(archive.getmembers()):
                size += member.size
                if size > _BYTES_MAX:
                    raise ReleaseError(f"{path} holds more than {_BYTES_MAX // 1_000_000} MB")
                reader = archive.extractfile(member)
                assert reader
                files[name] = File(reader.read(), bool(member.mode & 0o100))
            comment = archive.pax_headers.get("comment", "")  # git archive's
    except (OSError, EOFError, tarfile.TarError, gzip.BadGzipFile) as error:
        raise ReleaseError(f"{path} cannot be read as a tarball: {error}") from None
    return files, comment if re.fullmatch(r"[0-9a-f]{40,64}", comment) else None


def _inside(members: list[tarfile.TarInfo]) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Wanted files by their path below the top, which may be a folder of its own, as forges make it."""
    names = {member: PurePosixPath(member.name) for member in members if member.isfile()}
    tops = [path.parent for path in names.values() if path.name == "pyproject.toml" and len(path.parts) <= 2]
    for member, path in names.items():
        if tops and path.is_relative_to(tops[0]) and ".." not in path.parts:
            name = path.relative_to(tops[0]).as_posix()
            if is_wanted(name):
                yield name, member


def _project(content: bytes, path: Path) -> dict[str, Any]:
    try:
        project: dict[str, Any] = tomllib.loads(content.decode())["project"]
        if project["name"] != "gatehouse" or not _NAME.fullmatch(project["version"]):
            raise ReleaseError(f"{path} is no source of Gatehouse: it is {project['name']} {project['version']}")
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"the pyproject.toml of {path} cannot be read: {error}") from None
    return project


def _commit_of(top: Path) -> str | None:
    """HEAD, where it is a checkout and git is there."""
    if not (top / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={top.resolve()}", "-C", str(top), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
