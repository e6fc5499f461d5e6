"""Small writes of one turn of the event loop, made together when the turn is over.

A write wakes whoever reads the other end. One by one, with the work for other requests between them, each does that;
together they find the reader awake (docs/decisions/0006-own-request-loop-at-the-edge.md).
"""

import asyncio
from typing import Protocol

import structlog

log = structlog.get_logger()


class Corked(Protocol):
    """Has something to write, and must bear that it is closed before it could."""

    def flush(self) -> None: ...


class Cork:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Corked] = []

    def hold(self, corked: Corked) -> None:
        """`corked.flush` is called once, before anything that the loop is given to do after this."""
        self._waiting.append(corked)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for corked in waiting:
            try:
                corked.flush()
            except Exception:
                log.exception("write_failed")  # of one; the others' bytes leave all the same
