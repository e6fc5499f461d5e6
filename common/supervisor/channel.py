"""The parent's end of a worker's channel: JSON messages, one a line, over a socket pair."""

import json
import selectors
import socket
from collections.abc import Callable
from typing import Any

from common.supervisor.loop import Loop

_READ_BYTES = 65536


class Channel:
    """Never blocks: a worker that does not read must not stop the others from being served."""

    def __init__(self, sock: socket.socket, loop: Loop, on_line: Callable[[bytes], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._on_line = on_line
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._open = True
        loop.watch(sock, selectors.EVENT_READ, self._ready)

    def send(self, message: dict[str, Any]) -> None:
        self.send_line(json.dumps(message, separators=(",", ":")).encode())

    def send_line(self, line: bytes) -> None:
        if self._open:
            self._outgoing += line + b"\n"
            self._write()

    def drain(self) -> None:
        """Reads what a dead worker has left, then closes."""
        while self._open and self._read():
            pass
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.unwatch(self._sock)
            self._sock.close()

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if self._open and events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> bool:
        """Whether there may be more. Closes at the end: the other side is gone."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._incoming += data
        if b"\n" in data:
            *lines, rest = self._incoming.split(b"\n")
            self._incoming = rest
            for line in lines:
                self._on_line(bytes(line))
        return True

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._outgoing[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
        self._loop.watch(self._sock, wanted, self._ready)
