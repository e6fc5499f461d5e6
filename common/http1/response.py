"""An answer as its caller sees it: the head, and a body that is there already or still arriving."""

import asyncio
from typing import Protocol, Self

from common.http1.errors import AnswerTooLarge, UpstreamError

HIGH_WATER_BYTES = 64 * 1024


class Source(Protocol):
    """What a body needs of the connection it arrives on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def close(self) -> None: ...

    def detach(self) -> tuple[asyncio.Transport, bytes]: ...


class Body:
    """A body in arrival: at most HIGH_WATER_BYTES and one read wait here, then the connection stops reading."""

    __slots__ = ("_chunks", "_error", "_loop", "_paused", "_size", "_waiter", "ended", "source", "untouched")

    def __init__(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        self.source = source
        self._loop = loop  # asked for at each piece, it costs a system call before Python 3.12
        self.ended = False
        self.untouched = True
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, chunks: list[bytes]) -> None:
        self._chunks += chunks
        self._size += sum(map(len, chunks))
        if self._size > HIGH_WATER_BYTES and not self._paused and not self.ended:
            self._paused = True
            self.source.pause()
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        self.ended = True
        self._error = error
        if self._paused and error is None:  # the connection goes back to its pool, where it must see a close
            self._paused = False
            self.source.resume()
        self._wake()

    def whole(self) -> bytes | None:
        """The body, if all of it is here and none of it was taken yet."""
        return b"".join(self._chunks) if self.ended and self.untouched and self._error is None else None

    async def take(self) -> bytes:
        """All that has arrived, at least one byte; b"" at the end."""
        self.untouched = False
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.ended:
                return b""
            await self._arrival()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self.source.resume()
        return data

    async def _arrival(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        if not self.ended:  # once ended, the connection may be carrying another request
            self.end(UpstreamError("the answer was closed by its reader"))
            self.source.close()


class Response:
    """An upstream's answer. Whoever holds it reads it to its end or calls `close()`; else its connection stays taken.

    `headers` are as received, names in their own case, hop-by-hop ones included; trailers are dropped.
    """

    __slots__ = ("_body", "_whole", "headers", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: list[tuple[bytes, bytes]],
        whole: bytes | None,
        body: Body | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self._whole = whole
        self._body = body

    @property
    def complete(self) -> bytes | None:
        """The whole body if it is here already and untouched, else None."""
        body = self._body
        return self._whole if body is None else body.whole()

    @property
    def upgraded(self) -> bool:
        """101: the connection speaks another protocol now; `detach` it."""
        return self.status == 101

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The bytes that have arrived since the last call. Raises UpstreamClosed, IdleTimeout or BadAnswer mid-body."""
        if self._body is not None and not self.upgraded:
            chunk = await self._body.take()
        else:
            chunk, self._whole = self._whole or b"", None
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises AnswerTooLarge past `limit` bytes, and closes the connection then."""
        chunks, size = [], 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                self.close()
                raise AnswerTooLarge(f"the answer is longer than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Closes the connection at once unless the answer had ended; then it is in the pool already."""
        if self._body is not None:
            self._body.close()

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """After 101 (`upgraded`): the transport, reading paused, and the bytes that came behind the head.

        The transport leaves the pool and its count; its new owner sets a protocol, resumes reading and closes it.
        """
        if self._body is None or not self.upgraded or self._body.ended:
            raise RuntimeError("only an upgraded connection that is still open can be detached")
        self._body.ended = True
        return self._body.source.detach()
