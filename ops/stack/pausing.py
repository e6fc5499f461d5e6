"""The stack's services stopped and its servers left running, for somebody who works on the data: a restore.

Whoever asks for it holds the lock of `run/restore.lock`. The pause ends when they say so, or when the lock is free:
they were killed, and the stack must not stay away for that.
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ops.stack.control import ask
from ops.stack.errors import StackError
from ops.stack.events import Story
from ops.stack.place import Place, own_as

_LOOK_SECONDS = 0.25
_STOP_SECONDS_MAX = 60
_START_SECONDS_MAX = 180

Work = Callable[[], Awaitable[None]]


class Pause:
    """The controller's end. `stop` and `start` are its own work on the services."""

    def __init__(self, place: Place, story: Story, *, stop: Work, start: Work) -> None:
        self._place = place
        self._story = story
        self._stop = stop
        self._start = start
        self._ending = asyncio.Lock()
        self._is_on = False

    async def begin(self) -> dict[str, Any]:
        """Returns when no service runs. Raises StackError to who does not hold the lock."""
        if _is_free(self._place):
            raise StackError("only who holds run/restore.lock may pause the stack")
        self._is_on = True
        self._story.say("the services stop for a restore")
        await self._stop()
        return {}

    async def end(self) -> dict[str, Any]:
        """Returns when the stack is ready. Raises StackError when the services do not start; they stay stopped then."""
        async with self._ending:
            if self._is_on:
                await self._begin_again()
        return {}

    async def _begin_again(self) -> None:
        try:
            await self._start()
        except StackError:
            await self._stop()  # not one of them alone
            raise
        self._is_on = False
        self._story.say("the services are back")

    async def watch(self) -> None:
        """Ends the pause when nobody holds it any more."""
        while self._is_on:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._is_on and not self._ending.locked() and _is_free(self._place):
                self._story.say("who paused the stack is gone")
                await self.end()


@contextmanager
def exclusive(place: Place) -> Iterator[None]:
    """Holds the lock. Raises StackError when another restore does, or it belongs to somebody else."""
    place.prepare()
    try:
        handle = os.open(_lock(place), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StackError(f"{_lock(place)} cannot be written: {error.strerror}; run this as the stack's user") from None
    with os.fdopen(handle, "w") as lock:
        own_as(place.run, handle)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another restore over {place.var} is under way") from None
        yield


@contextmanager
def paused(place: Place) -> Iterator[None]:
    """The running stack without its services; with them again when the block ends, however it ends."""
    try:
        if ask(place, "pause", timeout=_STOP_SECONDS_MAX) is None:
            raise StackError(_unreachable(place))
        yield
    finally:
        ask(place, "resume", timeout=_START_SECONDS_MAX)


def _unreachable(place: Place) -> str:
    """Whoever holds the stack's lock does not pause: a backup or a migration that started the database for itself."""
    return f"something else works on {place.var} (pid {place.holder()}) and cannot be paused: try again when it is done"


def _lock(place: Place) -> str:
    return str(place.run / "restore.lock")


def _is_free(place: Place) -> bool:
    try:
        handle = os.open(_lock(place), os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
