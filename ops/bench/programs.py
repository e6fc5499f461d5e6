"""Finds what the peers are made of; what this machine has not is fetched into build/bench, nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build" / "bench"
_DEBIAN = BUILD / "debian"
_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_FETCH_SECONDS = 300


class Unavailable(Exception):
    """A peer cannot be had on this machine; the text says why."""


def program(name: str, *packages: str) -> Path:
    """From the machine, else out of these Debian packages. Raises Unavailable."""
    if path := shutil.which(name) or shutil.which(name, path=os.pathsep.join(_FOLDERS)):
        return Path(path)
    return _fetched(packages, "usr/sbin/" + name, "usr/bin/" + name)


def library(path: str, *packages: str) -> Path:
    """A file that a package brings, such as /usr/share/lua/5.1/nginx/redis.lua. Raises Unavailable."""
    return Path(path) if Path(path).exists() else _fetched(packages, path.lstrip("/"))


def libraries() -> dict[str, str]:
    """The environment in which fetched programs find fetched libraries."""
    folders = [str(folder) for folder in sorted(_DEBIAN.glob("usr/lib/*-linux-gnu"))]
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {}


def command(words: list[str | Path], folder: Path, what: str) -> None:
    """Runs what makes a peer ready. Raises Unavailable with its last words."""
    try:
        subprocess.run(
            words, cwd=folder, check=True, capture_output=True, text=True, errors="replace", timeout=_FETCH_SECONDS
        )
    except FileNotFoundError:
        raise Unavailable(f"{what}: there is no {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: not done within {_FETCH_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        raise Unavailable(f"{what}: {said[-1] if said else f'exit {error.returncode}'}") from None


def _fetched(packages: tuple[str, ...], *paths: str) -> Path:
    """The first of these paths that is there once the packages are unpacked."""
    if not any((_DEBIAN / path).exists() for path in paths):
        archives = _DEBIAN / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        command(["apt-get", "download", *packages], archives, f"fetching {' '.join(packages)}")
        for archive in sorted(archives.glob("*.deb")):
            command(["dpkg", "-x", archive, _DEBIAN], archives, f"unpacking {archive.name}")
    for path in paths:
        if (_DEBIAN / path).exists():
            return _DEBIAN / path
    raise Unavailable(f"{' '.join(packages)} brings no {paths[0]}")
