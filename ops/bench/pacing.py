"""Requests at a constant rate, each at its time whatever became of those before it (open loop).

Written for latencies far below a millisecond: a kernel timer wakes the loop for each request (the loop's own timers are
a millisecond coarse), and each connection is a protocol of its own. A latency counts from the moment at which its
request was due, so a stall is charged to all that had to wait in it.
"""

import asyncio
import collections
import ctypes
import os
import re
import time
from contextlib import suppress
from typing import cast
from urllib.parse import urlsplit

from ops.bench.load import BadAnswer, Request

_CONNECTIONS = 64
_GIVE_UP_SECONDS = 5
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LIBC = ctypes.CDLL(None, use_errno=True)
_TFD_NONBLOCK = os.O_NONBLOCK


class _Times(ctypes.Structure):
    """struct itimerspec: the interval, then the first time, in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


def fire(request: Request, *, per_second: float, seconds: float) -> list[float]:
    """Latencies in milliseconds, sorted. Raises BadAnswer when one is no 200 or does not come."""
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.run(_fire(request, per_second, seconds))


async def _fire(request: Request, per_second: float, seconds: float) -> list[float]:
    asked, finished = round(per_second * seconds), asyncio.Event()
    sender = _Sender(request, asked)
    for _ in range(_CONNECTIONS):
        await sender.connect()
    timer = _timer(1 / per_second)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()

    def wake() -> None:
        os.read(timer, 8)
        due = min(asked, int((time.perf_counter() - started) * per_second) + 1)
        while sender.sent < due:
            sender.send(started + sender.sent / per_second)
        if sender.sent == asked:
            finished.set()

    loop.add_reader(timer, wake)
    await finished.wait()
    loop.remove_reader(timer)
    os.close(timer)
    await sender.drained()
    return sorted(latency * 1000 for latency in sender.latencies)


class _Sender:
    """Spreads requests over idle connections; without one they wait, and their latency runs."""

    def __init__(self, request: Request, asked: int) -> None:
        parts = urlsplit(request.url)
        self._address = (parts.hostname or "", parts.port or 80)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        self._message = "\r\n".join([*lines, "", ""]).encode()
        self._idle: list[_Connection] = []
        self._waiting: collections.deque[float] = collections.deque()
        self._fault = ""
        self._done = asyncio.Event()
        self._asked = asked
        self.sent = 0
        self.latencies: list[float] = []

    async def connect(self) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(self), *self._address)
        self._idle.append(connection)

    def send(self, due: float) -> None:
        self.sent += 1
        if self._idle:
            self._idle.pop().send(self._message, due)
        else:
            self._waiting.append(due)

    def answered(self, connection: "_Connection", due: float) -> None:
        self.latencies.append(time.perf_counter() - due)
        if self._waiting:
            connection.send(self._message, self._waiting.popleft())
        else:
            self._idle.append(connection)
            if len(self.latencies) == self._asked:
                self._done.set()

    def failed(self, fault: str) -> None:
        self._fault = self._fault or fault
        self._done.set()

    async def drained(self) -> None:
        """Raises BadAnswer when something failed or is missing."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), _GIVE_UP_SECONDS)
        if self._fault or len(self.latencies) < self.sent:
            raise BadAnswer(self._fault or f"{self.sent - len(self.latencies)} requests were not answered")
        for connection in self._idle:
            connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._due = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base

    def send(self, message: bytes, due: float) -> None:
        self._due, self._received = due, b""
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        length = _LENGTH.search(self._received, 0, end) if end >= 0 else None
        if length is None or len(self._received) < end + 4 + int(length[1]):
            return
        if self._received.startswith(b"HTTP/1.1 200"):
            self._sender.answered(self, self._due)
        else:
            self._sender.failed(self._received.partition(b"\r\n")[0].decode())

    def connection_lost(self, _: Exception | None) -> None:
        self._sender.failed("a connection was closed")

    def close(self) -> None:
        self._transport.close()


def _timer(interval_seconds: float) -> int:
    """A descriptor that becomes readable once every interval: timerfd_create(2)."""
    descriptor = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK)
    nanoseconds = int(interval_seconds * 1e9)
    times = _Times(0, nanoseconds, 0, nanoseconds)
    if descriptor < 0 or _LIBC.timerfd_settime(descriptor, 0, ctypes.byref(times), None):
        raise OSError(ctypes.get_errno(), "timerfd")
    return int(descriptor)
