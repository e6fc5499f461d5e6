"""Passphrase encryption as an age file, as a stream: whoever has the passphrase opens it with `age --decrypt`.

Format: https://c2sp.org/age, one scrypt stanza. Written here because the libraries for Python encrypt with a passphrase
only what is in memory as a whole, which a database is not; the tests compare with pyrage and with `age` itself.
"""

import base64
import hashlib
import hmac
import io
import os
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ops.backup.errors import BackupFailed, NotOpened

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

WORK_FACTOR = 17  # N = 2^17, r = 8: 128 MiB for half a second; OWASP's first choice for scrypt
_WORK_FACTOR_MAX = 20  # somebody else's file must not take all memory
_CHUNK = 64 << 10
_TAG = 16
_NONCE = 16
_FIRST = b"age-encryption.org/v1\n"
_STANZA = re.compile(rb"-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n([A-Za-z0-9+/]{43})\n")
_LAST = re.compile(rb"--- ([A-Za-z0-9+/]{43})\n")
_HEADER_LINES = 4
_NO_NONCE = bytes(12)  # each wrapping key is used once
_DAMAGED = "the encrypted archive is damaged or cut short"


class Encrypted(io.RawIOBase):
    """Encrypts what is written and writes it on; `close()` ends the file but leaves `target` open."""

    def __init__(self, target: IO[bytes], passphrase: str, *, work_factor: int | None = None) -> None:
        """`work_factor` in place of WORK_FACTOR: the binary logarithm of scrypt's N."""
        self._target = target
        self._pending = bytearray()
        self._count = 0
        work_factor = work_factor or WORK_FACTOR
        file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
        wrapped = ChaCha20Poly1305(_stretched(passphrase, salt, work_factor)).encrypt(_NO_NONCE, file_key, None)
        header = _FIRST + b"-> scrypt %s %d\n%s\n---" % (_encode(salt), work_factor, _encode(wrapped))
        self._target.write(header + b" " + _encode(_mac(file_key, header)) + b"\n" + nonce)
        self._cipher = ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        self._pending += data
        # The last chunk is marked as such, so one is held back until more is written.
        while len(self._pending) > _CHUNK:
            self._write_chunk(bytes(self._pending[:_CHUNK]), is_last=False)
            del self._pending[:_CHUNK]
        return memoryview(data).nbytes

    def close(self) -> None:
        if not self.closed:
            self._write_chunk(bytes(self._pending), is_last=True)
            self._pending.clear()
        super().close()

    def _write_chunk(self, chunk: bytes, *, is_last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._count, is_last), chunk, None))
        self._count += 1


class Decrypted(io.RawIOBase):
    """What an age file says, chunk by chunk: nothing is given out that was not authenticated.

    Raises BackupFailed for a wrong passphrase, and while reading for a file that was changed or cut short.
    """

    def __init__(self, source: IO[bytes], passphrase: str) -> None:
        self._source = source
        self._plain = memoryview(b"")
        self._count = 0
        file_key = _file_key(source, passphrase)
        nonce = source.read(_NONCE)
        self._cipher = ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))
        self._next = source.read(_CHUNK + _TAG)
        if len(nonce) < _NONCE or not self._next:  # even of nothing there is a chunk
            raise BackupFailed(_DAMAGED)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if not self._plain and self._next:
            self._plain = memoryview(self._read_chunk())
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._plain))
        target[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _read_chunk(self) -> bytes:
        chunk, self._next = self._next, self._source.read(_CHUNK + _TAG)
        try:
            plain = self._cipher.decrypt(_nonce(self._count, not self._next), chunk, None)
        except InvalidTag:
            raise BackupFailed(_DAMAGED) from None
        if not plain and self._count:  # only an empty file may end in an empty chunk
            raise BackupFailed(_DAMAGED)
        self._count += 1
        return plain


def is_encrypted(path: Path) -> bool:
    """Whether the file begins as every age file does."""
    with path.open("rb") as file:
        return file.read(len(_FIRST)) == _FIRST


def _file_key(source: IO[bytes], passphrase: str) -> bytes:
    lines = [source.readline(128) for _ in range(_HEADER_LINES)]
    stanza, last = _STANZA.fullmatch(b"".join(lines[1:3])), _LAST.fullmatch(lines[3])
    if lines[0] != _FIRST or not stanza or not last:
        raise BackupFailed("the archive is not encrypted with a passphrase in the age format")
    work_factor = int(stanza[2])
    if work_factor > _WORK_FACTOR_MAX:
        raise BackupFailed(f"the archive asks for a scrypt work factor of {work_factor}, more than {_WORK_FACTOR_MAX}")
    try:
        key = _stretched(passphrase, _decode(stanza[1]), work_factor)
        file_key = ChaCha20Poly1305(key).decrypt(_NO_NONCE, _decode(stanza[3]), None)
    except InvalidTag:
        raise NotOpened("the passphrase does not open the archive: check BACKUP_PASSPHRASE") from None
    except (ValueError, MemoryError):  # what OpenSSL says when there is no room for it
        raise BackupFailed(
            f"there is not enough memory for the archive's scrypt work factor of {work_factor}"
        ) from None
    if not hmac.compare_digest(_mac(file_key, b"".join(lines[:3]) + b"---"), _decode(last[1])):
        raise BackupFailed("the header of the encrypted archive was changed")
    return file_key


def _stretched(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    n = 1 << work_factor
    label = b"age-encryption.org/v1/scrypt"
    return hashlib.scrypt(passphrase.encode(), salt=label + salt, n=n, r=8, p=1, maxmem=1100 * n, dklen=32)


def _derived(file_key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(file_key)


def _mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.digest(_derived(file_key, b"", b"header"), header, "sha256")


def _nonce(count: int, is_last: bool) -> bytes:
    return count.to_bytes(11, "big") + bytes([is_last])


def _encode(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    """Raises BackupFailed for what another text decodes to as well: the format has one way to write anything."""
    data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    if _encode(data) != text:
        raise BackupFailed("the header of the encrypted archive was changed")
    return data
