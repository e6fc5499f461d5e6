"""Identifiers: UUIDv7 for rows, request ids for calls."""

import itertools
import os
import re
import secrets
import time
from uuid import UUID

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")


def uuid7() -> UUID:
    """A time-ordered identifier, RFC 9562 section 5.7: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high = (random >> 68) & 0xFFF
    low = random & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


class RequestIds:
    """Makes `req_<unix seconds>_<prefix><counter>`.

    The prefix is random once per worker and the rest is a counter: a fresh random number for
    each request would cost more than the request id is worth.
    """

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._counter = itertools.count()

    def make(self) -> str:
        return f"req_{int(time.time())}_{self._prefix}{next(self._counter):x}"

    def keep_or_make(self, offered: str | None) -> str:
        """The client's id when it is well formed, else a new one."""
        if offered is not None and REQUEST_ID.fullmatch(offered):
            return offered
        return self.make()
