"""One service's supervisor as the controller's child."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from common.supervisor.child import ending
from common.supervisor.plan import Plan
from ops.logs.lines import fields_of
from ops.logs.mark import Mark
from ops.stack.errors import StackError
from ops.stack.events import open_log
from ops.stack.place import MODULES, Place
from ops.stack.process import PidFile, spawn

BOOT_SECONDS_MAX = 70
# A supervisor that lived this long died of something new.
_YOUNG_SECONDS = 30
_DELAY_SECONDS, _DELAY_SECONDS_MAX = 0.25, 10.0
_KILL_SECONDS = 1.0


class Service:
    """`state` is stopped, starting, ready or stopping. The supervisor reports over NOTIFY_SOCKET, see sd_notify(3)."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.state = "stopped"
        self.restarts = 0
        self.started_at = 0.0
        self._module = MODULES[name]
        self._place = place
        self._process: asyncio.subprocess.Process | None = None
        self._pid_file = PidFile(place.run / f"{name}.pid")
        self._settled = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._mark = Mark(place.log(name))
        self._young_deaths = 0
        self._notify_path = place.run / f"{name}.notify"
        self._notify: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    def end_leftover(self, seconds: float) -> None:
        """What a controller that was killed may have left; blocks."""
        self._pid_file.end_leftover(seconds)

    async def start(self, environ: Mapping[str, str]) -> None:
        """Spawns it; `wait_ready` waits."""
        self._open_notify()
        self._settled.clear()
        self.state, self.started_at = "starting", time.time()
        log = open_log(self._place, self.name)
        try:
            self._mark = Mark(self._place.log(self.name))
            self._process = await spawn(
                ["-m", self._module],
                {**environ, "LOG_TO": "files", "NOTIFY_SOCKET": str(self._notify_path)},
                death_signal=signal.SIGINT,
                stdout=log,
                stderr=log,
            )
        finally:
            os.close(log)
        self._pid_file.write(self._process.pid)

    async def wait_ready(self) -> None:
        """Until every worker of it serves. Raises StackError with its own reason when it gives up."""
        if not await self._settle(BOOT_SECONDS_MAX):
            raise StackError("\n".join(self._reasons(" did not start")))
        self.state = "ready"

    async def reload(self) -> str | None:
        """New workers for old. None when done, else why the old ones stay."""
        async with self._reloading:
            process = self._process
            if process is None or self.state != "ready":
                return f"{self.name} is {self.state}"
            self._settled.clear()
            self._mark = Mark(self._place.log(self.name))
            process.send_signal(signal.SIGHUP)
            if not await self._settle(BOOT_SECONDS_MAX):
                return f"{self.name} did not come back; see {self._place.log(self.name)}"
            refused = any(line.startswith("not reloaded") for line in self._said())
            return "\n".join(self._reasons()) if refused else None

    async def ended(self) -> str:
        """Waits for its end, which it then tells in words."""
        assert self._process
        status = await self._process.wait()
        self.state = "stopped"
        self._pid_file.remove()
        return ending(status)

    def next_delay(self) -> float:
        """How long to wait before it is started again: it grows while it keeps dying young."""
        self.restarts += 1
        self._young_deaths = self._young_deaths + 1 if time.time() - self.started_at < _YOUNG_SECONDS else 1
        return float(min(_DELAY_SECONDS * 2 ** (self._young_deaths - 1), _DELAY_SECONDS_MAX))

    def kill(self) -> None:
        """At once; its workers end when their channel does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def status(self, plan: Plan | None) -> dict[str, Any]:
        listening = [{"name": listener.name, "address": listener.address} for listener in plan.listen] if plan else []
        return {
            "name": self.name,
            "state": self.state,
            "pid": self.pid,
            "started_at": self.started_at if self.pid else None,
            "restarts": self.restarts,
            "listening": listening,
        }

    async def stop(self, seconds: float) -> None:
        """Without lame duck; workers that take longer than `seconds` are killed. Afterwards nothing of it runs."""
        process = self._process
        if process is not None and process.returncode is None:
            self.state = "stopping"
            process.send_signal(signal.SIGCONT)  # one that was stopped by hand would hear nothing else
            # The second interrupt makes the supervisor kill its workers; they also end when it is killed.
            for number, patience in ((signal.SIGINT, seconds), (signal.SIGINT, _KILL_SECONDS), (signal.SIGKILL, None)):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), patience)
                    break
        self.state = "stopped"
        self._pid_file.remove()
        self._close_notify()

    async def _settle(self, seconds: float) -> bool:
        """Waits for READY=1; False when it ends before or takes too long."""
        assert self._process
        settled = asyncio.create_task(self._settled.wait())
        ended = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait([settled, ended], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return self._settled.is_set()
        finally:
            settled.cancel()
            ended.cancel()

    def _open_notify(self) -> None:
        if self._notify is not None:
            return
        self._notify_path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.setblocking(False)
        self._notify.bind(str(self._notify_path))
        asyncio.get_running_loop().add_reader(self._notify, self._notified)

    def _close_notify(self) -> None:
        if self._notify is not None:
            asyncio.get_running_loop().remove_reader(self._notify)
            self._notify.close()
            self._notify = None
            self._notify_path.unlink(missing_ok=True)

    def _notified(self) -> None:
        assert self._notify
        with contextlib.suppress(BlockingIOError):
            if b"READY=1" in self._notify.recv(4096).split(b"\n"):
                self._settled.set()

    def _reasons(self, doing: str = "") -> list[str]:
        """What the supervisor said, and what a stack trace said if there is one."""
        trace = self._trace()
        said = [*self._said(), *([f"{trace} (see {self._place.log(self.name)})"] if trace else [])]
        return [f"{self.name}{doing}: {line}" for line in said or ["it said nothing"]]

    def _said(self) -> list[str]:
        """The supervisor's own sentences since the mark, without its name."""
        prefix = f"{self._module}: "
        return [line.removeprefix(prefix) for line in self._mark.lines() if line.startswith(prefix)]

    def _trace(self) -> str:
        """The last line of a worker's stack trace, which says what went wrong; ordinary lines have fields."""
        lines = [line for line in self._mark.lines() if line and not line.startswith((" ", f"{self._module}: "))]
        return next((line for line in reversed(lines) if fields_of(line) is None), "")
