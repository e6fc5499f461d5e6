"""The archive: a tar in gzip, inside an age file when there is a passphrase. Written and read as a stream.

gatehouse-20251121T020000Z.tar.gz        all parts
gatehouse-20251121T020000Z-logs.tar.gz   some, named
….tar.gz.age                             encrypted

database/00000, database/00001 …   pg_dump's custom format in pieces: `cat database/* | pg_restore`
configuration/ certificates/ secrets/ logs/
manifest.json                      last, because it holds the size and the SHA-256 of all others
"""

import gzip
import hashlib
import io
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from ops.backup import age, manifest
from ops.backup.errors import BackupFailed, NotOpened
from ops.backup.manifest import Manifest, Member

_LEVEL = 3  # three times as fast as 6 for a tenth more bytes
_READ_BYTES = 1 << 20
_SMALL_BYTES_MAX = 64 << 20  # a manifest of 300,000 log files


class Readable(Protocol):
    """Whatever bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class Writer:
    """Adds members and keeps count of them."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: list[Member] = []

    def add(self, name: str, content: Readable, size: int) -> None:
        """Exactly `size` bytes of `content`. Raises EOFError when there are fewer."""
        counted = _Counted(content, size)
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        self._tar.addfile(info, counted)
        self.members.append(Member(name, size, counted.digest.hexdigest()))

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, io.BytesIO(content), len(content))

    def finish(self, described: Manifest) -> None:
        self.add_bytes(manifest.NAME, described.dumped())


class _Counted(io.RawIOBase):
    """Reads at most `size` bytes through a digest."""

    def __init__(self, source: Readable, size: int) -> None:
        self._source = source
        self._left = size
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = b""
        while len(data) < wanted:
            more = self._source.read(wanted - len(data))
            if not more:
                raise EOFError("a file became shorter while it was read")
            data += more
        self.digest.update(data)
        self._left -= len(data)
        return data


@contextmanager
def writing(target: IO[bytes], passphrase: str | None) -> Iterator[Writer]:
    """The archive is complete when the block ends without an exception."""
    with ExitStack() as layers:
        below = target
        if passphrase:
            encrypted = layers.enter_context(age.Encrypted(target, passphrase))
            below = layers.enter_context(io.BufferedWriter(encrypted, _READ_BYTES))
        packed = layers.enter_context(gzip.GzipFile(fileobj=below, mode="wb", compresslevel=_LEVEL, filename=""))
        tar = tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_READ_BYTES)  # noqa: SIM115
        try:
            yield Writer(tar)
        finally:
            tar.close()


@contextmanager
def reading(path: Path, passphrase: str | None) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """The members in order, each to be read before the next is asked for; the file is checked to its very end.

    Raises BackupFailed: damaged, cut short, encrypted and no passphrase, no archive of ours.
    """
    try:
        with ExitStack() as layers:
            below: IO[bytes] = layers.enter_context(path.open("rb"))
            if age.is_encrypted(path):
                below = layers.enter_context(_decrypted(below, passphrase))
            packed = layers.enter_context(gzip.GzipFile(fileobj=below, mode="rb"))
            tar = layers.enter_context(tarfile.open(fileobj=packed, mode="r|", bufsize=_READ_BYTES))
            yield _members(tar)
            while packed.read(_READ_BYTES):
                pass
    except BackupFailed as error:
        raise type(error)(_with_name(path, str(error))) from None
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupFailed(f"{path} is damaged or no archive of Gatehouse: {error}") from None
    except OSError as error:
        raise BackupFailed(f"{path} cannot be read: {error.strerror or error}") from None


def _decrypted(source: IO[bytes], passphrase: str | None) -> io.BufferedReader:
    if not passphrase:
        raise NotOpened("it is encrypted: set BACKUP_PASSPHRASE or BACKUP_PASSPHRASE_FILE")
    return io.BufferedReader(age.Decrypted(source, passphrase), _READ_BYTES)


def _with_name(path: Path, text: str) -> str:
    return text if str(path) in text else f"{path}: {text}"


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Plain files whose names lead downwards, each once: `logs//etc/passwd` below a folder would be /etc/passwd."""
    seen = set()
    for info in tar:
        content = tar.extractfile(info) if info.isreg() else None
        if content is None or info.name in seen or not set(info.name.split("/")).isdisjoint({"", ".", ".."}):
            raise BackupFailed(f"the archive holds {info.name!r}, which no backup of Gatehouse does")
        seen.add(info.name)
        yield info.name, content


def read_small(name: str, content: Readable) -> bytes:
    """A member that belongs in memory. Raises BackupFailed for one that would fill it."""
    data = b""
    while more := content.read(_READ_BYTES):
        data += more
        if len(data) > _SMALL_BYTES_MAX:
            raise BackupFailed(f"the archive's {name} is larger than any that Gatehouse writes")
    return data


def digest(content: Readable) -> tuple[int, str]:
    """(size, SHA-256) of what is left of it."""
    size, found = 0, hashlib.sha256()
    while data := content.read(_READ_BYTES):
        size += len(data)
        found.update(data)
    return size, found.hexdigest()
