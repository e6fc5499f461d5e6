"""The files of `--preset guides`, each written, read back and then named: see `guides.py` for what they are called."""

import gzip
import io
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from ops.backup import age, database, files, making, parts
from ops.backup.archive import digest
from ops.backup.errors import BackupFailed
from ops.backup.making import Progress
from ops.backup.options import Options
from ops.backup.parts import Source
from ops.stack.configuration import Configuration

RELEASE = Path(__file__).resolve().parents[2]
# What belongs to a place and not to a release, or can be made again.
_LEFT_OUT = frozenset({".venv", ".git", "var", "__pycache__", ".env", "build", "htmlcov"})
_COPY = re.compile(rb"COPY ([\w.\"]+) \(.*\) FROM stdin;\n")


def _database(
    read: Configuration, wanted: Options, now: datetime, rows: dict[str, int], progress: Progress
) -> Iterator[Path]:
    counted: list[dict[str, int]] = []

    def check(path: Path) -> None:
        if (found := _rows_in(path, wanted.passphrase)) != counted[0]:
            wrong = next(name for name in {**counted[0], **found} if found.get(name) != counted[0].get(name))
            raise BackupFailed(f"the dump holds {found.get(wrong)} rows of {wrong}, not {counted[0].get(wrong)}")

    with _file(wanted, f"db_backup_{now:%Y%m%d_%H%M%S}.sql.gz", check) as (target, finish):
        with (
            making.owner(read) as url,
            gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6, filename="") as packed,
        ):
            dumped = database.back_up_plain(
                url,
                packed,
                lambda done, total: progress("Database", done, max(done, total)),
            )
        counted.append(dumped.rows)
        rows.update(dumped.rows)
        yield finish()


def _rows_in(path: Path, passphrase: str | None) -> dict[str, int]:
    """The lines of each COPY of a plain dump; it must say that it is complete."""
    found: dict[str, int] = {}
    with _opened(path, passphrase) as below, gzip.GzipFile(fileobj=below) as lines:
        table, complete = "", False
        for line in lines:
            if not table:
                if match := _COPY.fullmatch(line):
                    table = match[1].decode().replace('"', "")
                    found[table] = 0
                complete = complete or line.startswith(b"-- PostgreSQL database dump complete")
            elif line == b"\\.\n":
                table = ""
            else:
                found[table] += 1
    if not complete:
        raise BackupFailed("the dump is cut short")
    return found


def _configuration(
    read: Configuration, wanted: Options, now: datetime, _: dict[str, int], progress: Progress
) -> Iterator[Path]:
    """The release, and the settings file by itself."""
    env_file = parts.env_file_of(read.environ)
    settings = [Source(".env", env_file)] if env_file.is_file() else []
    members = [Source(f"gatehouse/{path.relative_to(RELEASE)}", path) for path in _release()]
    members += [Source("gatehouse/.env", env_file)] if settings else []
    yield from _tar(wanted, f"app_backup_{now:%Y%m%d_%H%M%S}.tar.gz", members, lambda n: progress("Release", n, None))
    for source in settings:
        yield from _settings(wanted, source)


def _settings(wanted: Options, source: Source) -> Iterator[Path]:
    with source.opened() as (content, size):
        text = content.read(size)

    def check(path: Path) -> None:
        with _opened(path, wanted.passphrase) as below:
            if below.read() != text:
                raise BackupFailed(".env.backup is not what was written")

    with _file(wanted, ".env.backup", check, replaces=True) as (target, finish):
        target.write(text)
        yield finish()


def _release() -> list[Path]:
    """The files of the release: those that git keeps, where it does."""
    if (RELEASE / ".git").exists():
        words = ["git", "-C", str(RELEASE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            names = subprocess.run(words, capture_output=True, check=True).stdout.split(b"\0")
        except (OSError, subprocess.SubprocessError):
            names = []
        if found := [RELEASE / os.fsdecode(name) for name in names if name]:
            return [path for path in found if path.is_file() and not path.is_symlink()]
    return sorted(path for path in RELEASE.rglob("*") if path.is_file() and not _LEFT_OUT & set(_below(path)))


def _below(path: Path) -> tuple[str, ...]:
    return path.relative_to(RELEASE).parts


def _daily(kind: str, gathered: Callable[[Configuration, Options], Iterable[Source]]) -> Callable[..., Iterator[Path]]:
    def make(read: Configuration, wanted: Options, now: datetime, *rest: object) -> Iterator[Path]:
        del rest
        yield from _tar(wanted, f"backup-{kind}-{now:%Y%m%d}.tar.gz", list(gathered(read, wanted)), replaces=True)

    return make


WRITERS: dict[str, Callable[..., Iterator[Path]]] = {
    "database": _database,
    "configuration": _configuration,
    "certificates": _daily("certs", lambda read, _: parts.certificates(read.place)),
    "secrets": _daily(
        "secrets",
        lambda read, wanted: parts.secret_files(read.place, read.environ, is_encrypted=wanted.passphrase is not None),
    ),
    "logs": _daily("logs", lambda read, _: parts.logs(read.place)),
}


def _tar(
    wanted: Options,
    name: str,
    sources: list[Source],
    progress: Callable[[int], None] = lambda _: None,
    *,
    replaces: bool = False,
) -> Iterator[Path]:
    sizes: dict[str, int] = {}

    def check(path: Path) -> None:
        with _opened(path, wanted.passphrase) as below, tarfile.open(fileobj=below, mode="r|gz") as tar:
            found = {info.name: digest(content)[0] for info in tar if (content := tar.extractfile(info))}
        if found != sizes:
            raise BackupFailed(f"{name} is not what was written")

    with _file(wanted, name, check, replaces=replaces) as (target, finish):
        with tarfile.open(fileobj=target, mode="w|gz", format=tarfile.PAX_FORMAT) as tar:
            for number, source in enumerate(sources, 1):
                sizes[source.name] = _add(tar, source)
                progress(number)
        yield finish()


def _add(tar: tarfile.TarFile, source: Source) -> int:
    with source.opened() as (content, size):
        info = tarfile.TarInfo(source.name)
        known = source.path.stat() if source.path else None
        info.size, info.mtime = size, int(known.st_mtime if known else time.time())
        info.mode = 0o700 if known and known.st_mode & 0o100 else 0o600
        tar.addfile(info, content)  # type: ignore[arg-type]
        return size


@contextmanager
def _file(
    wanted: Options, name: str, check: Callable[[Path], None], *, replaces: bool = False
) -> Iterator[tuple[IO[bytes], Callable[[], Path]]]:
    """As `files.made`, inside an age file when there is a passphrase."""
    closed = f"{name}.age" if wanted.passphrase else name
    with files.made(wanted.directory, closed, check, replaces=replaces) as (file, finish):
        if wanted.passphrase is None:
            yield file, finish
            return
        with ExitStack() as layers:
            encrypted = layers.enter_context(age.Encrypted(file, wanted.passphrase))
            buffered = layers.enter_context(io.BufferedWriter(encrypted, 1 << 20))

            def close_and_finish() -> Path:
                layers.close()
                return finish()

            yield buffered, close_and_finish


@contextmanager
def _opened(path: Path, passphrase: str | None) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        yield io.BufferedReader(age.Decrypted(file, passphrase), 1 << 20) if passphrase else file
