"""An embedded server as the controller keeps it: launched in the main thread, awaited in another."""

import asyncio
import os
import signal
import time
from typing import Any

from ops.embedded import Postgres, ServerError, Valkey
from ops.embedded.errors import PortTakenError
from ops.stack.errors import StackError
from ops.stack.events import Story

_LOOK_SECONDS = 0.5
_PORT_ATTEMPTS = 3
_DELAY_SECONDS, _DELAY_SECONDS_MAX = 0.5, 10.0


class KeptServer:
    """`state` is stopped, starting or ready."""

    def __init__(self, server: Postgres | Valkey) -> None:
        self.server = server
        self.state = "stopped"
        self.restarts = 0
        self.started_at = 0.0

    @property
    def title(self) -> str:
        return self.server.title

    @property
    def url(self) -> str:
        return self.server.url

    async def start(self) -> None:
        """Raises StackError; nothing of it runs then."""
        self.state = "starting"
        try:
            await self._start()
        except ServerError as error:
            self.state = "stopped"
            raise StackError(str(error)) from None
        self.state, self.started_at = "ready", time.time()

    async def _start(self) -> None:
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            self.server.launch()
            try:
                await asyncio.to_thread(self.server.wait_ready)
            except PortTakenError:
                if not attempts_left:
                    raise
            else:
                return

    async def revive(self, story: Story) -> None:
        """Waits for its death and starts it again, however often that takes."""
        while self.server.alive():  # noqa: ASYNC110 - the kernel tells only its parent's Popen
            await asyncio.sleep(_LOOK_SECONDS)
        self.state = "stopped"
        self.restarts += 1
        story.say(f"{self.title} died; starting it again")
        delay = _DELAY_SECONDS
        while True:
            try:
                await self.start()
            except StackError as error:
                story.say(f"{error}; trying again in {delay:g} s")
                await asyncio.sleep(delay)
                delay = min(delay * 2, _DELAY_SECONDS_MAX)
            else:
                story.say(f"{self.title} is back on port {self.server.port}")
                return

    def status(self) -> dict[str, Any]:
        return {
            "name": self.server.name,
            "title": self.title,
            "state": self.state,
            "pid": self.server.pid,
            "started_at": self.started_at if self.server.pid else None,
            "restarts": self.restarts,
            "address": f"127.0.0.1:{self.server.port}",
        }

    async def stop(self) -> None:
        """In a thread: it waits for the server to write what it must."""
        if (pid := self.server.pid) is not None:
            os.kill(pid, signal.SIGCONT)  # one that was stopped by hand would hear nothing else
        await asyncio.to_thread(self.server.stop)
        self.state = "stopped"
