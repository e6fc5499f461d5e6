"""Two gigabytes up and down past a reader that stops in between: nothing of it may pile up in the edge."""

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO

from ops.bench.check import ask
from ops.bench.load import BadAnswer
from ops.bench.peers import edge
from ops.bench.processes import Running
from ops.bench.report import Goal, Section
from ops.bench.setting import bench
from ops.soak.watching import size, watched

_BYTES = 2 * 1024**3
_STALLS_AFTER = (64 * 1024**2, 1024**3)
_STALL_SECONDS = 3
_MB_MOST = 32
_SAMPLE_SECONDS = 0.05
_BUFFER_BYTES = 1024**2
_TIMEOUT_SECONDS = 120


def run() -> Iterator[Section]:
    section = Section(
        f"{_BYTES / 1024**3:.0f} GB with a reader that stalls {len(_STALLS_AFTER)} times for {_STALL_SECONDS} s",
        ("what", "seconds", "MB/s", "MB over idle, most"),
    )
    with _upstream() as port, bench(rounds=1, seconds=1) as given:
        setting = replace(given.setting("edge"), upstream_port=port)
        authorization = f"Authorization: Bearer {given.issuer.token('EdDSA')}\r\n".encode()
        with edge.run(setting) as running:
            ask(running)  # what listens is the parent: only an answer tells that the worker is there, all of it
            for what, transfer in (("download", _download), ("upload", _upload)):
                _note(section, running, what, transfer, authorization)
    yield section


def _note(
    section: Section, running: Running, what: str, transfer: Callable[[int, bytes], None], authorization: bytes
) -> None:
    idle, started = size(running), time.monotonic()
    with watched(running, _SAMPLE_SECONDS) as samples:
        transfer(running.port, authorization)
    seconds = time.monotonic() - started
    over = (max(sample.size_bytes for sample in samples) - idle) / 1e6
    moving = seconds - _STALL_SECONDS * len(_STALLS_AFTER)
    section.rows.append((what, f"{seconds:.0f}", f"{_BYTES / 1e6 / moving:.0f}", f"{over:.1f}"))
    section.goals.append(Goal(f"{what}: memory over idle ≤ {_MB_MOST} MB", f"{over:.1f} MB", over <= _MB_MOST))


def _download(port: int, authorization: bytes) -> None:
    """Raises BadAnswer when it is not all of it."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /bulk HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n" + authorization + b"\r\n")
        head, rest = _read_head(connection)
        if not head.startswith(b"HTTP/1.1 200") or len(rest) + _read(connection, _BYTES - len(rest)) != _BYTES:
            raise BadAnswer(f"the download was cut: {head.partition(bytes(2))[0][:80]!r}")


def _upload(port: int, authorization: bytes) -> None:
    """Raises BadAnswer when the upstream did not get all of it."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS) as connection, _nothing() as source:
        length = b"Content-Length: %d\r\n" % _BYTES
        head = b"POST /bulk HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n" + length + authorization + b"\r\n"
        connection.sendall(head)
        connection.sendfile(source)
        head, received = _read_head(connection)
        while chunk := connection.recv(65536):
            received += chunk
        if not head.startswith(b"HTTP/1.1 200") or received != b"%d" % _BYTES:
            raise BadAnswer(f"the upload was cut: {head[:60]!r} {received[:80]!r}")


@contextmanager
def _upstream() -> Iterator[int]:
    """Sends that many bytes to who asks, and counts those that are sent to it, stalling; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket) -> None:
    with suppress(OSError):  # the end of the experiment closes it
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.settimeout(_TIMEOUT_SECONDS)
        head, rest = _read_head(connection)
        if head.startswith(b"POST"):
            count = len(rest) + _read(connection, _BYTES - len(rest))
            answer = b"%d" % count
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        else:
            kind = b"Content-Type: application/octet-stream\r\n"
            connection.sendall(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (kind, _BYTES))
            with _nothing() as source:
                connection.sendfile(source)


@contextmanager
def _nothing() -> Iterator[IO[bytes]]:
    """A file of that many zeros that takes no room; the kernel sends it by itself."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_BYTES)
        yield file


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received and (chunk := connection.recv(65536)):
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _read(connection: socket.socket, count: int) -> int:
    """Reads up to `count` bytes, stalling on the way; how many came."""
    buffer, received, stalls = bytearray(_BUFFER_BYTES), 0, list(_STALLS_AFTER)
    while received < count and (more := connection.recv_into(buffer, min(len(buffer), count - received))):
        received += more
        if stalls and received >= stalls[0]:
            stalls.pop(0)
            time.sleep(_STALL_SECONDS)
    return received
