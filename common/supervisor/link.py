"""A worker's end of its channel to the parent."""

import asyncio
import contextlib
import itertools
import json
import socket
from typing import Any

_LINE_BYTES_MAX = 64 * 1024 * 1024  # merged metrics travel as one line
_ANSWER_SECONDS_MAX = 5.0


class Link:
    """Orders come in through `receive`, which must be running for `ask` to be answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @classmethod
    async def open(cls, fd: int) -> "Link":
        sock = socket.socket(fileno=fd)
        sock.set_inheritable(False)  # a grandchild holding it would hide our death from the parent
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=_LINE_BYTES_MAX))

    def send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def ask(self, op: str) -> dict[str, Any]:
        """The parent's answer. Raises TimeoutError when there is none."""
        number = next(self._ids)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.send({"op": op, "id": number})
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                return await self._asked[number]
        finally:
            del self._asked[number]

    async def receive(self) -> dict[str, Any] | None:
        """The next order; answers go to who asked. None when the parent is gone."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                message: dict[str, Any] = json.loads(line)
                if message["op"] not in {"merged", "status"}:
                    return message
                asked = self._asked.get(message["id"])
                if asked and not asked.done():
                    asked.set_result(message)
        return None

    async def close(self) -> None:
        """When all that was sent has left."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
