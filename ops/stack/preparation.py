"""The controller's end of `prepare.py`."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ops.stack.errors import StackError
from ops.stack.events import open_log
from ops.stack.place import Place
from ops.stack.process import spawn


class Preparation:
    """`check()` once, then any of `call(action, ...)`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def check(self) -> dict[str, Any]:
        """`{"plans": {service: plan}, "faults": {variable: text}}`."""
        return await self._receive()

    async def call(self, action: str, **arguments: Any) -> Any:
        """The result. Raises StackError with what the action said."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"action": action, "arguments": arguments}).encode() + b"\n")
        answer = await self._receive()
        if "error" in answer:
            raise StackError(answer["error"])
        return answer["result"]

    async def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise StackError("the preparation ended without an answer; `gatehouse logs gatehouse` shows what it said")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def preparation(place: Place, environ: Mapping[str, str]) -> AsyncIterator[Preparation]:
    """The child, for as long as it is needed. What it says on stderr goes to `var/logs/gatehouse.log`."""
    log = open_log(place, "gatehouse")
    pipe = asyncio.subprocess.PIPE
    try:
        process = await spawn(
            ["-m", "ops.stack.prepare"], environ, death_signal=signal.SIGKILL, stdin=pipe, stdout=pipe, stderr=log
        )
    finally:
        os.close(log)
    try:
        yield Preparation(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
