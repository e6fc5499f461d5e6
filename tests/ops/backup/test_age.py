"""Archives are encrypted so that anybody with the passphrase and any age program can open them."""

import io
import os
import pty
from pathlib import Path

import pyrage
import pytest

from ops.backup.age import Decrypted, Encrypted
from ops.backup.errors import BackupFailed
from tests.tools import tool

PASSPHRASE = "correct horse bättery"
QUICK = 10  # scrypt's work factor: the strong one is tried once
CHUNK = 64 << 10


def encrypted(content: bytes, *, work_factor: int = QUICK, step: int = 50_000) -> bytes:
    target = io.BytesIO()
    with Encrypted(target, PASSPHRASE, work_factor=work_factor) as writer:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
    return target.getvalue()


def decrypted(content: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return io.BufferedReader(Decrypted(io.BytesIO(content), passphrase)).read()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 300_000])
def test_another_implementation_reads_it_and_so_do_we(size: int) -> None:
    content = os.urandom(size)
    closed = encrypted(content)
    assert pyrage.passphrase.decrypt(closed, PASSPHRASE) == content
    assert decrypted(closed) == content


def test_the_age_command_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    age = tool("age")
    content = os.urandom(200_000)
    (tmp_path / "ours.age").write_bytes(encrypted(content, work_factor=17))
    at_a_terminal([age, "--decrypt", "-o", str(tmp_path / "plain"), str(tmp_path / "ours.age")], prompts=1)
    assert (tmp_path / "plain").read_bytes() == content
    at_a_terminal([age, "--passphrase", "-o", str(tmp_path / "theirs.age"), str(tmp_path / "plain")], prompts=2)
    assert decrypted((tmp_path / "theirs.age").read_bytes()) == content


def at_a_terminal(words: list[str], *, prompts: int) -> None:
    """age asks for a passphrase on its terminal only."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    for _ in range(prompts):
        seen = b""
        while b": " not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, PASSPHRASE.encode() + b"\n")
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:  # how a terminal says that its program has ended
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_wrong_passphrase_is_refused() -> None:
    with pytest.raises(BackupFailed, match="does not open the archive"):
        decrypted(encrypted(b"content"), "another passphrase")


@pytest.mark.parametrize("position", [30, 60, 100, 170, 200, CHUNK + 200, -1])
def test_a_changed_byte_is_noticed(position: int) -> None:
    closed = bytearray(encrypted(os.urandom(100_000)))
    closed[position] ^= 1
    with pytest.raises(BackupFailed):
        decrypted(bytes(closed))


@pytest.mark.parametrize("kept", [0, 10, 100, 180, CHUNK, CHUNK + 16 + 180, -1])
def test_a_file_that_was_cut_short_is_noticed(kept: int) -> None:
    with pytest.raises(BackupFailed):
        decrypted(encrypted(os.urandom(2 * CHUNK))[:kept])


def test_a_file_that_was_cut_at_a_chunk_is_noticed() -> None:
    closed = encrypted(os.urandom(3 * CHUNK))
    chunk = CHUNK + 16
    header = len(closed) - 3 * chunk
    with pytest.raises(BackupFailed, match="damaged or cut short"):
        decrypted(closed[: header + 2 * chunk])


def test_a_file_that_would_take_all_memory_is_refused() -> None:
    closed = encrypted(b"x", work_factor=10).replace(b" 10\n", b" 30\n", 1)
    with pytest.raises(BackupFailed, match="work factor of 30"):
        decrypted(closed)


def header_size(closed: bytes) -> int:
    return closed.index(b"\n", closed.index(b"\n---") + 1) + 1


@pytest.mark.parametrize("more", [0, 1, 15, 16])
def test_a_file_that_ends_with_its_header_is_not_an_empty_one(more: int) -> None:
    closed = encrypted(b"")
    with pytest.raises(BackupFailed, match="damaged or cut short"):
        decrypted(closed[: header_size(closed) + more])


def test_an_empty_chunk_ends_only_an_empty_file() -> None:
    """The file key is our own here, so that everything but the rule is right."""
    target = io.BytesIO()
    with Encrypted(target, PASSPHRASE, work_factor=QUICK) as writer:
        writer._write_chunk(bytes(CHUNK), is_last=False)
    with pytest.raises(BackupFailed, match="damaged or cut short"):
        decrypted(target.getvalue())


def test_what_follows_the_last_chunk_is_refused() -> None:
    closed = encrypted(os.urandom(CHUNK))
    with pytest.raises(BackupFailed, match="damaged or cut short"):
        decrypted(closed + closed[-CHUNK - 16 :])


def test_a_header_is_written_in_one_way_only() -> None:
    """The last character of 43 in base64 has two bits to spare, which a lax reader ignores."""
    closed = encrypted(b"content")
    last = header_size(closed) - 2
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(closed[last]) + 1]
    with pytest.raises(BackupFailed, match="header of the encrypted archive was changed"):
        decrypted(closed[:last] + bytes([other]) + closed[last + 1 :])
