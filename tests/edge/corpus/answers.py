"""What a client reads of a connection on which it sent raw bytes."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def is_relayed(self) -> bool:
        return b"x-upstream" in self.headers

    def fault(self) -> str:
        """What is wrong with an answer of the edge's own, or nothing."""
        if b"x-request-id" not in self.headers:
            return "no X-Request-ID"
        if self.is_relayed:
            return ""
        try:
            envelope = json.loads(self.body)
        except ValueError:
            return f"no envelope but {self.body[:100]!r}"
        said = (envelope.get("success"), envelope.get("statusCode"), envelope.get("requestId", "").encode())
        if said != (False, self.status, self.headers[b"x-request-id"]):
            return f"an envelope that says {said}"
        return "" if self.headers.get(b"connection") == b"close" else "no `Connection: close`"


Cut = Callable[[bytes], list[bytes]]


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def at_head_ends(raw: bytes) -> list[bytes]:
    return [piece + b"\r\n\r\n" for piece in raw.split(b"\r\n\r\n")[:-1]] + [raw.rpartition(b"\r\n\r\n")[2]]


def in_hundred(raw: bytes) -> list[bytes]:
    size = max(1, len(raw) // 100)
    return [raw[start : start + size] for start in range(0, len(raw), size)]


class Client(asyncio.Protocol):
    """Keeps what it was sent even when the other side resets the connection afterwards."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


async def send(port: int, pieces: list[bytes], *, seconds: float) -> tuple[bytes, bool]:
    """What comes until the other side closes, and whether it did within `seconds`. Each piece arrives by itself."""
    transport, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    for piece in pieces:
        if client.closed.done():
            break
        transport.write(piece)
        for _ in range(3 if len(pieces) > 1 else 0):
            await asyncio.sleep(0)  # a turn of the loop in which the edge reads, another in which it acts
    done, _ = await asyncio.wait([client.closed], timeout=seconds)
    transport.abort()
    return bytes(client.received), bool(done)


def parse(received: bytes, methods: list[bytes]) -> list[Answer]:
    """The answers to requests of `methods`, in order; interim ones are left out. Raises ValueError for anything odd."""
    answers: list[Answer] = []
    while received:
        head, found, received = received.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        if not found or not line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            raise ValueError(f"no answer: {head[:100]!r}")
        status = int(line.split(b" ")[1])
        if status < 200:
            continue
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(b":") for text in fields)}
        size = int(headers.get(b"content-length", b"0"))
        with contextlib.suppress(IndexError):
            size = 0 if methods[len(answers)] == b"HEAD" else size
        if len(received) < size:
            raise ValueError("a body that ends early")
        answers.append(Answer(status, headers, received[:size]))
        received = received[size:]
    return answers
