"""Clients that forgive nothing: kept-alive connections, never a request sent twice."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

_TIMEOUT_SECONDS = 30
_PAUSE_SECONDS = 0.01  # a busy processor would only make new workers late
_BODY = b"x" * 2048


@dataclass
class Tally:
    """What became of the requests; `lost` are the local ports of the connections on which one got no answer."""

    answered: Counter[int] = field(default_factory=Counter)
    lost: list[tuple[int, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.lost) + sum(count for status, count in self.answered.items() if status != 200)


class Client:
    """GET and POST in turn. Obeys `Connection: close`; any other end of a connection costs it a request."""

    def __init__(self, port: int, authorization: str, tally: Tally) -> None:
        head = f"Host: soak\r\nAuthorization: {authorization}\r\n".encode()
        self._requests = (
            b"GET /bench HTTP/1.1\r\n" + head + b"\r\n",
            b"POST /upload HTTP/1.1\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY,
        )
        self._port = port
        self._tally = tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def follow(self, over: asyncio.Event) -> None:
        while not over.is_set():
            for request in self._requests:
                await self._send(request)
                await asyncio.sleep(_PAUSE_SECONDS)
        self._close()

    async def _send(self, request: bytes) -> None:
        own_port = 0
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
                own_port = writer.get_extra_info("sockname")[1]
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
        except (OSError, EOFError) as error:
            self._tally.lost.append((own_port, repr(error)))
            self._close()
            return
        self._tally.answered[int(head.split(b" ", 2)[1])] += 1
        if b"\r\nconnection: close" in head.lower():
            self._close()

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
