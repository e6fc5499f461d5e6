"""`python -m <service> check` in a child, so that the parent never imports the service."""

import os
import selectors
import subprocess
from collections.abc import Callable
from typing import IO, cast

from common.supervisor.child import environment
from common.supervisor.loop import Loop
from common.supervisor.release import interpreter

_READ_BYTES = 65536
_SECONDS_MAX = 60


class Check:
    """Runs at once; calls `done` with the exit status and the output. Its stderr is ours.

    `interpreter` is the one it ran under: that of the release which is current now. Raises OSError.
    """

    def __init__(self, service: str, loop: Loop, done: Callable[[int, bytes], None]) -> None:
        self._loop = loop
        self._done = done
        self._output = bytearray()
        self.interpreter = interpreter()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*self.interpreter, "-m", service, "check"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment(),
            process_group=0,
        )
        self._pipe = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._pipe.fileno(), False)
        loop.watch(self._pipe, selectors.EVENT_READ, self._read)
        loop.later(_SECONDS_MAX, self.kill)

    def kill(self) -> None:
        """`done` still follows. Harmless when the check has ended."""
        self._process.kill()

    def _read(self, _events: int) -> None:
        data = os.read(self._pipe.fileno(), _READ_BYTES)
        self._output += data
        if not data:
            self._loop.unwatch(self._pipe)
            self._pipe.close()
            self._done(self._process.wait(), bytes(self._output))
