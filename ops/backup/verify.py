"""Reads an archive to its end and compares it with what it says about itself."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from ops.backup import archive, manifest, tools
from ops.backup.database import FOLDER
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Manifest, Member

_COPY_BYTES = 1 << 20
Progress = Callable[[int], None]


def verify(path: Path, passphrase: str | None, progress: Progress = lambda _: None) -> Manifest:
    """Every member's size and SHA-256, the dump read through by pg_restore, nothing missing and nothing more.

    `progress(bytes read)`. Raises BackupFailed with what is wrong first.
    """
    with _Dump() as dump:
        described, seen = _read(path, passphrase, dump, progress)
        if described is None:
            raise BackupFailed(f"{path} has no manifest: it is cut short or no archive of Gatehouse")
        _compare(path, described.members, seen)
        if (described.database is not None) != ("database" in described.parts):
            raise BackupFailed(f"{path} is damaged: its manifest contradicts itself about the database")
        if described.database is not None:
            dump.judge(path)
    return described


def _read(
    path: Path, passphrase: str | None, dump: "_Dump", progress: Progress
) -> tuple[Manifest | None, list[Member]]:
    described: Manifest | None = None
    seen: list[Member] = []
    with archive.reading(path, passphrase) as members:
        for name, content in members:
            if name == manifest.NAME:
                described = manifest.loaded(archive.read_small(name, content))
                continue
            measured = _Teed(content, dump.feed if name.startswith(FOLDER) else None)
            seen.append(Member(name, *archive.digest(measured)))
            progress(sum(member.size for member in seen))
    return described, seen


def _compare(path: Path, told: list[Member], seen: list[Member]) -> None:
    for member in told:
        if member not in seen:
            raise BackupFailed(f"{path} is damaged: {member.name} is not what was written")
    if extra := [member.name for member in seen if member not in told]:
        raise BackupFailed(f"{path} holds {extra[0]}, which its manifest does not name")


class _Teed:
    """Passes on what is read."""

    def __init__(self, source: IO[bytes], feed: Callable[[bytes], None] | None) -> None:
        self._source = source
        self._feed = feed

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        if self._feed:
            self._feed(data)
        return data


class _Dump:
    """pg_restore, which reads a dump to its end and would complain; started with the first piece."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def feed(self, data: bytes) -> None:
        if self._process is None:
            words: list[str | Path] = [tools.newest() / "pg_restore", "--file=/dev/null"]
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has complained; `judge` says what about
            self._process.stdin.write(data)

    def judge(self, path: Path) -> None:
        if self._process is None:
            raise BackupFailed(f"{path} is damaged: it holds no dump of the database")
        _, said = self._process.communicate()
        if self._process.returncode:
            raise BackupFailed(f"{path} is damaged: pg_restore says {tools.complaint(said.decode(errors='replace'))}")

    def __enter__(self) -> "_Dump":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it stays, whether it was judged, has complained early, or is not to be asked any more."""
        if self._process is not None and self._process.stdin and not self._process.stdin.closed:
            self._process.kill()
            with suppress(BrokenPipeError):  # what is still buffered for it
                self._process.stdin.close()
            if self._process.stderr:
                self._process.stderr.close()
            self._process.wait()
