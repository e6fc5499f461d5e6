"""Password hashing in threads of its own: as many as the processor has room for, with a short queue before them.

argon2id and its numbers: OWASP Password Storage Cheat Sheet. One lane, because more would start threads of their own.
The executor is the bound: a semaphore around it would lose its permit whenever a client goes away while it waits.
"""

import asyncio
import os
import sys
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

import argon2
import structlog
from aiohttp import web
from argon2.exceptions import InvalidHashError, VerificationError

from common.errors import ServiceUnavailable

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")

QUEUE_MAX = 64
_NICE = 10


def standard() -> argon2.PasswordHasher:
    """argon2id, 19 MiB, two passes, one lane: lanes are threads, and those are ours to count."""
    return argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16)


class Hasher:
    """Hashes and verifies. `admit` comes before anything else a request does, so that a flood costs nothing.

    A permit belongs to the job, not to the request: when a client goes away its job still runs and still counts.
    """

    def __init__(self, argon: argon2.PasswordHasher, *, threads: int, queue_max: int = QUEUE_MAX) -> None:
        self._argon = argon
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_be_nice)
        self._free = threads + queue_max
        self._lock = threading.Lock()  # permits come back on the executor's threads
        self._dummy = _unmatched(argon)

    @property
    def free(self) -> int:
        """Permits left: threads and queue places."""
        return self._free

    def admit(self) -> "Permit":
        """Room for one job. Raises ServiceUnavailable when the queue is full."""
        with self._lock:
            if self._free == 0:
                raise ServiceUnavailable("Too many sign-ins at once, please try again", detail="argon2 queue is full")
            self._free -= 1
        return Permit(self)

    def release(self) -> None:
        with self._lock:
            self._free += 1

    def submit(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        return self._executor.submit(job, *args, **kwargs)

    def hash(self, password: str) -> str:
        return self._argon.hash(_normal(password))

    def matches(self, encoded: str | None, password: str) -> bool:
        """None costs as much as a wrong password does."""
        try:
            return self._argon.verify(encoded or self._dummy, _normal(password))
        except VerificationError:
            return False
        except InvalidHashError:
            log.error("password_hash_unreadable")  # noqa: TRY400 - the trace would show the hash
            return False

    def is_outdated(self, encoded: str) -> bool:
        return self._argon.check_needs_rehash(encoded)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class Permit:
    """Room for exactly one job, given back when the job ends or, without one, at the end of the block."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._is_spent = False

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_spent:
            self._is_spent = True
            self._hasher.release()

    async def hash(self, password: str) -> str:
        return await self._run(self._hasher.hash, password)

    async def matches(self, encoded: str | None, password: str) -> bool:
        return await self._run(self._hasher.matches, encoded, password)

    async def _run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert not self._is_spent, "a permit is good for one hash"
        future = self._hasher.submit(job, *args, **kwargs)
        self._is_spent = True
        future.add_done_callback(lambda _: self._hasher.release())
        return await asyncio.wrap_future(future)


def threads_per_worker(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)


def _normal(password: str) -> str:
    """NFC: keyboards differ in how they compose one and the same letter (NIST SP 800-63B-4, 3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def _be_nice() -> None:
    """Hashing gives way to requests. On Linux the priority belongs to the thread; elsewhere there is no such thing."""
    if sys.platform == "linux":
        # A sandbox may forbid it: then hashing takes its turn like everything else, rather than not at all.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _unmatched(argon: argon2.PasswordHasher) -> str:
    """A hash with the current parameters and no known password."""
    salt, digest = (b64encode(os.urandom(n)).rstrip(b"=").decode() for n in (argon.salt_len, argon.hash_len))
    return f"$argon2id$v=19$m={argon.memory_cost},t={argon.time_cost},p={argon.parallelism}${salt}${digest}"


HASHER: web.AppKey[Hasher] = web.AppKey("hasher", Hasher)
