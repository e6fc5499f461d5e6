"""A constant load from clients that forgive nothing."""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.04
_ANSWER_SECONDS = 20


@dataclass
class Call:
    """What a client repeats, and the status it wants."""

    method: str
    path: str
    status: int
    body: dict[str, Any] | None = None


@dataclass
class Load:
    """Each client keeps one connection, obeys `Connection: close`, and counts anything else than its status as failed.

    It runs in a thread of its own from `with` to its end.
    """

    url: str
    key: str
    calls: list[Call]
    succeeded: int = 0
    failures: list[str] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        assert self._thread
        self._thread.join(60)

    async def _run(self) -> None:
        await asyncio.gather(*(self._repeat(call) for call in self.calls))

    async def _repeat(self, call: Call) -> None:
        client = _Client(self.url, self.key)
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    status, body = await client.request(call)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(f"{call.method} {call.path}: {type(error).__name__}: {error}")
                client.close()
                continue
            if status == call.status:
                self.succeeded += 1
            else:
                self.failures.append(f"{call.method} {call.path}: {status} {body!r}")
            await asyncio.sleep(_PAUSE_SECONDS)
        client.close()


class _Client:
    def __init__(self, url: str, key: str) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, call: Call) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._address.hostname, self._address.port)
        reader, writer = self._streams
        body = json.dumps(call.body).encode() if call.body else b""
        head = (
            f"{call.method} {call.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(start.split()[1]), answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
