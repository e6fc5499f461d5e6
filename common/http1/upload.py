"""A request body on its way to the upstream, counted, at the pace the upstream takes it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable

from common.http1.errors import InvalidRequest

SLICE_BYTES = 64 * 1024


class Upload:
    """Sends one body in a task of its own, so that an early answer or a lost connection can stop it.

    `changed` is called when whom it waits for changes: its source, the upstream (`is_blocked`) or nobody (`is_sent`).
    """

    __slots__ = ("_changed", "_drained", "_failed", "_task", "_transport", "_unsent_bytes", "is_blocked", "is_sent")

    def __init__(
        self, transport: asyncio.Transport, changed: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        self.is_sent = False  # every byte the head announced was written
        self.is_blocked = False  # the upstream takes no more for now
        self._transport = transport
        self._changed = changed
        self._failed = failed
        self._drained: asyncio.Future[None] | None = None
        self._unsent_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def start(self, body: AsyncIterable[bytes], length: int | None) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(body, length))
        self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def pause(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()
        self._unsent_bytes = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def is_moving(self) -> bool:
        """Whether the upstream took bytes since the last look; looked at when the deadline passes."""
        before, self._unsent_bytes = self._unsent_bytes, self._transport.get_write_buffer_size()
        return self._unsent_bytes < before

    async def _run(self, body: AsyncIterable[bytes], length: int | None) -> None:
        try:
            if length is None:
                await self._send_chunked(body)
            else:
                await self._send_counted(body, length)
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()  # left suspended, it would hold what it holds until collected

    async def _send_chunked(self, body: AsyncIterable[bytes]) -> None:
        async for chunk in body:
            if chunk:  # an empty one would end the body
                await self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await self._write(b"0\r\n\r\n")
        self._sent()

    async def _send_counted(self, body: AsyncIterable[bytes], length: int) -> None:
        rest = length
        if rest == 0:
            self._sent()
        async for chunk in body:
            rest -= len(chunk)
            if rest < 0:
                raise InvalidRequest(f"the body is longer than the {length} bytes announced")
            if chunk:
                await self._write(chunk)
                if rest == 0:
                    self._sent()  # its source may take a while to say that it has ended
        if rest:
            raise InvalidRequest(f"the body ended {rest} bytes before the {length} announced")

    async def _write(self, data: bytes) -> None:
        self._transport.write(data)
        if self._drained is not None:
            self.is_blocked = True
            self._changed()
            await self._drained
            self.is_blocked = False
            self._changed()

    def _sent(self) -> None:
        self.is_sent = True
        self._changed()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._task is task:
            self._task = None
            if task.cancelled():
                error = InvalidRequest("the body was cancelled at its source")
            if error is not None:
                self._failed(error)
        elif error is not None:
            error.__traceback__ = None  # nobody hears of it, and its source, which may keep it, is in there


async def slices(body: bytes) -> AsyncGenerator[bytes, None]:
    """A large body in pieces, so that its progress can be seen."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]
