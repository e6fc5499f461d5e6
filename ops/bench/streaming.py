"""Clients of long answers: they keep connections open for some seconds and count what arrives."""

import asyncio
import base64
import os
from collections.abc import Callable
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from ops.bench.load import BadAnswer, Request
from ops.bench.processes import Running
from ops.bench.upstream_streams import ECHO, MESSAGE

_WARM_SECONDS = 0.5


class _Kind(NamedTuple):
    """The status of an answer that streams, what is done with what arrives, and what is asked with."""

    status: bytes
    received: Callable[["_Reader", bytes], None]
    headers: dict[str, str]


class _Reader(asyncio.Protocol):
    """Sends a head; counts what comes after that of the answer."""

    def __init__(self, head: bytes, kind: _Kind) -> None:
        self._head = head
        self._kind = kind
        self._answer = b""
        self._is_open = False
        self.fault = ""
        self.count = 0
        self.part = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        self.transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            self._kind.received(self, data)
            return
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"HTTP/1.1 " + self._kind.status):
            self._is_open = True
            self._kind.received(self, rest)
        else:
            self.fault = head.partition(b"\r\n")[0].decode()

    def connection_lost(self, _: Exception | None) -> None:
        self.fault = self.fault or "the stream was closed"


def events(request: Request, proxy: Running, *, connections: int, seconds: float) -> tuple[int, float]:
    """Events that arrived, and what the proxy's processes used meanwhile (seconds). Raises BadAnswer."""
    return _run(request, proxy, _Kind(b"200", _count_events, {}), connections, seconds)


def messages(request: Request, proxy: Running, *, connections: int, seconds: float) -> tuple[int, float]:
    """The same for messages of WebSockets: each answer is followed by the next message."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    return _run(request, proxy, _Kind(b"101", _answer_messages, upgrade), connections, seconds)


def _count_events(reader: _Reader, data: bytes) -> None:
    reader.count += data.count(b"data: ")


def _answer_messages(reader: _Reader, data: bytes) -> None:
    count, reader.part = divmod(reader.part + len(data), len(ECHO))
    reader.count += count
    reader.transport.write(MESSAGE * (count if reader.count else 1))


def _run(request: Request, proxy: Running, kind: _Kind, connections: int, seconds: float) -> tuple[int, float]:
    import uvloop  # noqa: PLC0415 - not on every platform

    parts = urlsplit(request.url)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in {**request.headers, **kind.headers}.items()]
    head = "\r\n".join([*lines, "", ""]).encode()
    readers = [_Reader(head, kind) for _ in range(connections)]

    async def measure() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        for reader in readers:
            await loop.create_connection(lambda reader=reader: reader, parts.hostname or "", parts.port or 80)  # type: ignore[misc]
        await asyncio.sleep(_WARM_SECONDS)
        count, used = sum(reader.count for reader in readers), proxy.cpu_seconds()
        await asyncio.sleep(seconds)
        arrived = sum(reader.count for reader in readers) - count
        used = proxy.cpu_seconds() - used
        for reader in readers:
            if reader.fault:
                raise BadAnswer(f"{request.url}: {reader.fault}")
            reader.transport.abort()
        return arrived, used

    arrived, used = uvloop.run(measure())
    if not arrived:
        raise BadAnswer(f"{request.url}: nothing arrived")
    return arrived, used
