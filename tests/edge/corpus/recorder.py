"""An upstream that writes down what it gets, read as strictly as can be: what it cannot read is a fault of the edge."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LINE = re.compile(rb"[A-Z]+ [^\x00-\x20\x7f]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HEAD_BYTES_MAX = 256 * 1024


class Unreadable(Exception):
    """Bytes that two readers could take for two things."""


@dataclass
class Recorder:
    """`seen`: method, target and body of every complete request; `heads`: their heads; `faults`: what was odd."""

    port: int = 0
    seen: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def forget(self) -> None:
        self.seen, self.heads, self.faults = [], [], []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, body = await _request(head, reader)
                self.heads.append(head)
                self.seen.append(b" ".join((method, target, body)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Upstream: yes\r\n\r\n")
                writer.write(b"" if method == b"HEAD" else b"ok")
                await writer.drain()
        except Unreadable as error:
            self.faults.append(str(error))
        except asyncio.IncompleteReadError:
            pass  # the client went, or gave up in the middle: no request
        except (ConnectionError, asyncio.CancelledError):
            pass  # the end of a test ends what idles
        finally:
            writer.close()


async def _request(head: bytes, reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    line, *fields = head[:-4].split(b"\r\n")
    if not _LINE.fullmatch(line):
        raise Unreadable(f"request line {line!r}")
    lengths, codings = [], []
    for text in fields:
        match = _FIELD.fullmatch(text)
        if match is None:
            raise Unreadable(f"field {text[:100]!r}")
        name = text.partition(b":")[0].lower().replace(b"_", b"-")
        lengths += [match[1]] if name == b"content-length" else []
        codings += [match[1]] if name == b"transfer-encoding" else []
    if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
        raise Unreadable(f"framing {lengths} {codings}")
    method, target, _ = line.split(b" ")
    body = await _chunks(reader) if codings else await reader.readexactly(int(lengths[0]) if lengths else 0)
    return method, target, body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}\r\n", line):
            raise Unreadable(f"chunk {line!r}")
        chunk = await reader.readexactly(int(line, 16) + 2)
        if not chunk.endswith(b"\r\n"):
            raise Unreadable("chunk without an end")
        if len(chunk) == 2:
            return body
        body += chunk[:-2]


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0, limit=_HEAD_BYTES_MAX)
    recorder.port = server.sockets[0].getsockname()[1]
    async with server:
        yield recorder
        server.close()
