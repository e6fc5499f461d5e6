"""WebSocket byte by byte: what no client library would send, and a server whose bytes a test holds in its hand."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.edge.conftest import Edge

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
LINES = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY.decode(),
}
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


def opening(path: str = "/", **lines: str) -> bytes:
    """A handshake; `lines` by header name with `_` for `-`, empty for none."""
    headers = {"Host": "x", **LINES, **{name.replace("_", "-"): value for name, value in lines.items()}}
    listed = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return f"GET {path} HTTP/1.1\r\n{listed}\r\n".encode()


def frame(opcode: int, payload: bytes = b"", *, first: int = 0x80, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """One frame; `first` holds FIN and the reserved bits, an empty `mask` leaves the payload plain."""
    size, masked = len(payload), 0x80 if mask else 0
    if size < 126:
        length = bytes([masked | size])
    elif size < 65536:
        length = bytes([masked | 126]) + size.to_bytes(2)
    else:
        length = bytes([masked | 127]) + size.to_bytes(8)
    if mask:
        whole = int.from_bytes((mask * (size // 4 + 1))[:size])
        payload = (int.from_bytes(payload) ^ whole).to_bytes(size)
    return bytes([first | opcode]) + length + mask + payload


@dataclass
class Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    async def read(self, count: int, seconds: float = 10) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), seconds)

    async def rest(self, seconds: float = 10) -> bytes:
        """Everything until the other end closes; of a reset, what came before it."""
        data = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(seconds):
                while chunk := await self.reader.read(65536):
                    data += chunk
        return data

    async def close_code(self, seconds: float = 10) -> int:
        """The other end sends a Close frame and nothing else before it closes."""
        return code_of(await self.rest(seconds))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        self.reset()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def code_of(data: bytes) -> int:
    """The status code in one Close frame with no reason."""
    assert data[:1] == b"\x88", data
    assert len(data) == (8 if data[1] > 127 else 4), data
    code = int.from_bytes(data[-2:])
    return code ^ int.from_bytes(data[2:4]) if data[1] > 127 else code


class Joined:
    """Clients of an edge."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    async def __call__(self, edge: Edge, opened: bytes | None = None) -> Peer:
        """One past the head of the answer to what it sent, a good handshake if nothing is said."""
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        peer = Peer(reader, writer)
        self._peers.append(peer)
        peer.send(opening() if opened is None else opened)
        peer.head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        return peer

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()


class Server:
    """Answers each handshake with `answer`; then the connection is the test's."""

    def __init__(self, answer: bytes = SWITCHED) -> None:
        self._answer = answer
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []
        self._over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._all.append(peer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            peer.head = await reader.readuntil(b"\r\n\r\n")
            peer.send(self._answer)
            self._peers.put_nowait(peer)
            await self._over.wait()

    async def peer(self) -> Peer:
        """The next connection to it."""
        return await asyncio.wait_for(self._peers.get(), 10)

    async def close(self) -> None:
        self._over.set()
        for peer in self._all:
            await peer.close()


StartServer = Callable[..., Awaitable[tuple[str, Server]]]
