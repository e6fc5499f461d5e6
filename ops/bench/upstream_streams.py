"""Long answers of the bench's upstream: events at a pace, and a WebSocket that answers each message with one."""

import asyncio
import base64
import hashlib

# As large as a chunk of a chat completion usually is.
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}'
    b"\n\n"
)
EVENT_SECONDS = 0.01
EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)

# RFC 6455: a masked text of 32 bytes from the client, the same unmasked from the server.
_TEXT = b"0123456789abcdef0123456789abcdef"
_MASK = b"\x01\x02\x03\x04"
_MASKED = bytes(byte ^ _MASK[index % 4] for index, byte in enumerate(_TEXT))
MESSAGE = bytes([0x81, 0x80 | len(_TEXT)]) + _MASK + _MASKED
ECHO = bytes([0x81, len(_TEXT)]) + _TEXT
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Events:
    """One event every EVENT_SECONDS until the connection is closed."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(EVENTS_HEAD)
        self._next()

    def _next(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_CHUNK)
            asyncio.get_running_loop().call_later(EVENT_SECONDS, self._next)


class Echo:
    """Answers as many messages as arrive; it counts bytes, since all are of one length."""

    def __init__(self, transport: asyncio.Transport, head: bytes) -> None:
        self._transport = transport
        self._bytes = 0
        transport.write(_switching(head))

    def received(self, data: bytes) -> None:
        count, self._bytes = divmod(self._bytes + len(data), len(MESSAGE))
        if count:
            self._transport.write(ECHO * count)


def _switching(head: bytes) -> bytes:
    at = head.lower().index(b"sec-websocket-key:")
    key = head[at + 18 :].split(b"\r\n", 1)[0].strip()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )
