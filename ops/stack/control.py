"""The stack's control socket: one JSON line asked, one answered. Only the stack's owner can open it."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from ops.stack.errors import StackError
from ops.stack.place import Place

# Takes the request's fields; the answer's fields, or StackError.
Verb: TypeAlias = Callable[..., Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers `{"op": NAME, ...}` with `{"ok": true, ...}` or `{"ok": false, "error": SENTENCE}`."""

    def __init__(self, place: Place, verbs: Mapping[str, Verb]) -> None:
        self._place = place
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Whoever holds the stack's lock owns the path."""
        self._place.control.unlink(missing_ok=True)
        mask = os.umask(0o177)  # the socket is born closed to others
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._place.control)
        finally:
            os.umask(mask)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._place.control.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            if line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            fields = json.loads(line)
            return {"ok": True, **await self._verbs[fields.pop("op")](**fields)}
        except StackError as error:
            return {"ok": False, "error": str(error)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return {"ok": False, "error": f"no such request: {error}"}


def ask(place: Place, op: str, *, timeout: float = 10, **fields: Any) -> dict[str, Any] | None:
    """The controller's answer; None when none runs over this place.

    Raises StackError with its refusal, or when it does not answer within `timeout` seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(place.control))
            connection.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except TimeoutError:
            raise StackError(f"the stack did not answer within {timeout:g} s; see {place.log('gatehouse')}") from None
        except OSError as error:
            if isinstance(error, PermissionError):
                raise StackError(f"{place.control} belongs to another user: run this as its owner") from None
            return None
    if not line:
        return None
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise StackError(answer["error"])
    return answer
