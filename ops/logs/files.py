"""A log on disk: the file that is being written, and older ones that were renamed and then compressed.

Ours are `edge.log`, `edge.log-20260102T030405.123456Z`, `edge.log-20260101T….gz`. Those that logrotate makes
(`edge.log.1`, `edge.log.2.gz`, `edge.log-20260102.gz`) are read too.
"""

import errno
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

PARTIAL = ".partial"
_OLDER = re.compile(r"(?P<log>[\w-]+)\.log[.-](?P<stamp>[\w.-]+?)(?P<compressed>\.gz)?")
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_OURS = re.compile(r"\d{8}T\d{6}\.\d{6}Z")


def names(folder: Path) -> list[str]:
    """Every log in `folder`, also one of which only older files are there."""
    found = {path.stem for path in folder.glob("*.log")}
    return sorted(found | {match["log"] for path in _children(folder) if (match := _OLDER.fullmatch(path.name))})


def older(path: Path) -> list[Path]:
    """The older files of the log at `path`, the oldest first."""
    found = {}
    for candidate in _children(path.parent):
        match = _OLDER.fullmatch(candidate.name)
        if match is None or match["log"] != path.stem or candidate.name.endswith(PARTIAL):
            continue
        # Both are there while one is being compressed, or after a crash in the middle of it.
        plain = candidate.with_suffix("") if match["compressed"] else candidate
        if plain not in found or not match["compressed"]:
            with suppress(FileNotFoundError):
                found[plain] = (_ended(match["stamp"], candidate), plain.name, candidate)
    return [entry[2] for entry in sorted(found.values())]


def ours(path: Path) -> list[Path]:
    """The older files that our rotation made, the oldest first, compressed or not."""
    found = []
    for candidate in _children(path.parent):
        match = _OLDER.fullmatch(candidate.name)
        if match and match["log"] == path.stem and _OURS.fullmatch(match["stamp"]):
            found.append(candidate)
    return sorted(found)


def renamed(path: Path, now: datetime) -> Path:
    """What the log at `path` is called from `now` on; sorts by age."""
    return path.with_name(f"{path.name}-{now.astimezone(UTC):{_STAMP}}")


def _ended(stamp: str, path: Path) -> float:
    """When it was put aside, as a unix time: its name says so in ours, its last line was written then in others."""
    if _OURS.fullmatch(stamp):
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    return path.stat().st_mtime


def is_compressed(path: Path) -> bool:
    return path.suffix == ".gz"


def lines(path: Path) -> Iterator[str]:
    """The whole lines of one file, compressed or not. One that is gone by now was compressed meanwhile.

    Raises OSError with the file's name, also for a damaged one.
    """
    try:
        file: IO[bytes] = gzip.open(path) if is_compressed(path) else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    except FileNotFoundError:
        if is_compressed(path) or not (compressed := path.with_name(f"{path.name}.gz")).exists():
            return
        yield from lines(compressed)
        return
    with file:
        try:
            yield from lines_of(file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise OSError(errno.EIO, f"no complete compressed file ({error})", str(path)) from None


def lines_of(file: IO[bytes]) -> Iterator[str]:
    """The whole lines from where it stands."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)  # its writer is in the middle of it
            return
        if line != b"\n":
            yield line[:-1].decode(errors="replace")


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
