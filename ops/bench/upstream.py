"""An upstream that costs as little as it can: `python -m ops.bench.upstream PORT`.

A protocol of its own on uvloop rather than a framework: what measures the proxies must not be what they wait for.
"""

import asyncio
import sys
from typing import cast

from ops.bench.upstream_streams import Echo, Events

BODY = b'{"items":[' + b",".join(b'{"id":%d,"name":"constant"}' % number for number in range(14)) + b"]}"
SIZES = {"/bench": len(BODY), "/bench/10k": 10 * 1024, "/bench/100k": 100 * 1024}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ANSWERS = {path.encode(): _HEAD % size + (BODY * (size // len(BODY) + 1))[:size] for path, size in SIZES.items()}
_ANY = _ANSWERS[b"/bench"]


class Upstream(asyncio.Protocol):
    """Answers each path with its constant, after reading a body whose length is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        self._received = b""
        self._body_left = 0
        self._answer = _ANY
        self._echo: Echo | None = None

    def data_received(self, data: bytes) -> None:
        if self._echo is not None:
            self._echo.received(data)
            return
        if self._body_left:
            data = self._read_body(data)
        self._received += data
        while not self._body_left and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, rest = self._received[:end], self._received[end + 4 :]
            self._received = self._begin(head, rest)

    def _begin(self, head: bytes, rest: bytes) -> bytes:
        """Starts to answer; gives back what came after the request."""
        path = head.split(b" ", 2)[1]
        if path == b"/bench/events":
            Events(self._transport)
        elif path == b"/socket":
            self._echo = Echo(self._transport, head)
        else:
            self._answer = _ANSWERS.get(path, _ANY)
            self._body_left = _length(head)
            if self._body_left:
                return self._read_body(rest)
            self._transport.write(self._answer)
        return rest

    def _read_body(self, data: bytes) -> bytes:
        """Takes what belongs to the body, answers at its end, gives back the rest."""
        rest = data[self._body_left :]
        self._body_left -= len(data) - len(rest)
        if not self._body_left:
            self._transport.write(self._answer)
        return rest


def _length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
