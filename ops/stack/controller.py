"""The controller: starts the stack step by step, keeps it running, stops it in order.

Everything it starts ends with it, even when it is killed: children carry a death signal (see `embedded/launcher.py`).
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from common import settings
from common.supervisor import release
from common.supervisor.listeners import bind
from common.supervisor.plan import CannotStart, Plan, parse
from ops.logs.rotation import Policy
from ops.stack import credentials, probe
from ops.stack.backends import Backends
from ops.stack.configuration import Configuration
from ops.stack.control import ControlServer
from ops.stack.errors import StackError
from ops.stack.events import Story
from ops.stack.log_keeping import keep_logs
from ops.stack.pausing import Pause
from ops.stack.place import SERVICES
from ops.stack.preparation import Preparation, preparation
from ops.stack.servers import KeptServer
from ops.stack.service import Service

READY_SECONDS_MAX = 60
_LEFTOVER_SECONDS = 10
_POLL_SECONDS = 0.05
# Ctrl-C ends within 10 s: requests in flight get this long at the edge, and behind it nothing arrives any more.
_STOP_ORDER = ((("edge",), 4.0), (("core", "auth"), 1.5))


class Controller:
    """`await run()` is its whole life."""

    def __init__(self, configuration: Configuration, story: Story, *, watches: bool = False) -> None:
        """`watches` reloads services whose source changes."""
        self.place = configuration.place
        self.story = story
        self.services = {name: Service(name, self.place) for name in SERVICES}
        self.state = "starting"
        self._configuration = configuration
        self._backends = Backends(configuration, story)
        self._watches = watches
        # Where releases are installed, when we are one of them.
        self._home = release.home(sys.executable)
        self._plans: dict[str, Plan] = {}
        self._started_at = time.time()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._pause = Pause(self.place, story, stop=self._stop_services, start=self._serve_again)
        self._control = ControlServer(
            self.place,
            {
                "status": self._status,
                "stop": self._stop_asked,
                "restart": self._restart,
                "reload": self._reload_asked,
                "pause": self._pause_asked,
                "resume": self._pause.end,
            },
        )

    async def run(self) -> None:
        """Until told to stop. Raises StackError when it could not start; nothing is left running either way."""
        with self.place.taken():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._signalled)
            try:
                await self._control.open()
                await self._unless_stopped(self._start())
                await self._stopping.wait()
            finally:
                await self._stop()

    async def reload(self, names: Iterable[str]) -> dict[str, str | None]:
        """Service → why it was not reloaded, None when it was."""
        wanted = list(names)
        outcomes = await asyncio.gather(*(self.services[name].reload() for name in wanted))
        return dict(zip(wanted, outcomes, strict=True))

    @property
    def url(self) -> str:
        """The edge as this machine reaches it; empty before the settings were checked."""
        return _url(self._plans["edge"]) if self._plans else ""

    # Starting

    async def _start(self) -> None:
        secrets = self._configuration.secrets()
        environ = {**self._configuration.environ, **self._configuration.placeholders()}
        async with preparation(self.place, environ) as preparing:
            with self.story.step("Settings and secrets"):
                await self._check(preparing)
            await self._backends.start(secrets)
            await self._backends.prepare(preparing)
        with self.story.step("Services") as step:
            await self._start_services()
            step.note = f"{', '.join(SERVICES)} ready"
        for server in self._backends.servers:
            self._in_background(self._keep_server(server))
        self._in_background(keep_logs(self.place, Policy.read(self._backends.environ()), self.story))
        if self._watches:
            self._in_background(self._watch())
        self.state = "running"
        self.story.tell("ready", summary=self._summary())

    async def _check(self, preparing: Preparation) -> None:
        """Whatever can be known to be wrong before anything is started, all at once."""
        for service in self.services.values():
            await asyncio.to_thread(service.end_leftover, _LEFTOVER_SECONDS)
        answer = await preparing.check()
        if faults := {**self._configuration.faults, **answer["faults"], **self._configuration.faults}:
            raise StackError(_sentences(faults))
        self._plans = {name: parse(json.dumps(plan).encode()) for name, plan in answer["plans"].items()}
        _probe_ports(self._plans)

    async def _start_services(self) -> None:
        environ = self._backends.environ()
        if self._watches and not settings.variable("LAME_DUCK_SECONDS", environ):
            # Whoever asks straight after "reloaded" wants the new code, not a retiring worker's last answer.
            environ["LAME_DUCK_SECONDS"] = "0"
        await asyncio.gather(*(service.start(environ) for service in self.services.values()))
        await asyncio.gather(*(service.wait_ready() for service in self.services.values()))
        self._keepers = [self._in_background(self._keep_service(service)) for service in self.services.values()]
        await self._await_ready()

    async def _serve_again(self) -> None:
        """After a pause: with the data and the secrets that are there by now."""
        secrets = self._configuration.secrets()
        environ = {**self._configuration.environ, **self._configuration.placeholders()}
        async with preparation(self.place, environ) as preparing:
            await self._check(preparing)
            self._backends.renew(secrets)
            await self._backends.prepare(preparing)
        await self._start_services()
        self.state = "running"
        self._summary()

    async def _await_ready(self) -> None:
        """As its clients see it: through the edge."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            status, body = await asyncio.to_thread(probe.fetch, f"{self.url}/health/ready")
            if status == 200:
                if away := probe.unhealthy(body):
                    self.story.say(f"degraded: {', '.join(away)} does not answer; `gatehouse doctor` says more")
                return
            if time.monotonic() > deadline:
                why = ", ".join(probe.unhealthy(body)) or f"status {status}"
                raise StackError(f"the stack is not ready after {READY_SECONDS_MAX} s: {why}; see {self.place.logs}")
            await asyncio.sleep(_POLL_SECONDS)

    def _summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = {"url": self.url, "var": str(self.place.var)}
        if self._configuration.is_production:
            return summary
        known, is_new = credentials.publish(self.place, self.url)
        return {**summary, "credentials": known, "is_first_run": is_new}

    # Keeping it running

    async def _keep_service(self, service: Service) -> None:
        while True:
            how = await service.ended()
            delay = service.next_delay()
            self.story.say(f"{service.name} ended ({how}); starting it again in {delay:g} s")
            await asyncio.sleep(delay)
            try:
                await service.start(self._backends.environ())
                await service.wait_ready()
            except (StackError, OSError) as error:
                self.story.say(str(error))
                await service.stop(1)
            else:
                self.story.say(f"{service.name} is back")

    async def _keep_server(self, server: KeptServer) -> None:
        while True:
            before = server.url
            await server.revive(self.story)
            if server.url != before:  # somebody took the port in the meantime
                self.story.say("the services start again to find it")
                await asyncio.gather(*(service.stop(1) for service in self.services.values()))

    async def _watch(self) -> None:
        from ops.stack.watch import watch  # noqa: PLC0415 - development only

        await watch(self.reload, self.story)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.story.say(f"a part of the controller failed, so the stack stops: {type(error).__name__}: {error}")
            self._stopping.set()

    # Stopping

    def _signalled(self) -> None:
        """The first asks, a further one insists: workers end when their supervisor is killed."""
        if self._stopping.is_set():
            for service in self.services.values():
                service.kill()
        self._stopping.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        task, told = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            raise StackError("stopped before it was ready")
        task.result()

    async def _stop(self) -> None:
        was_running, self.state = self.state == "running", "stopping"
        self._stopping.set()
        if was_running:
            self.story.tell("begin", title="Stopping")
        started = time.monotonic()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stop_services()
        await self._backends.stop()
        self._control.close()
        if was_running:
            self.story.tell("end", title="Stopped", note="", seconds=round(time.monotonic() - started, 3))

    async def _stop_services(self) -> None:
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for names, seconds in _STOP_ORDER:
            await asyncio.gather(*(self.services[name].stop(seconds) for name in names))

    # Asked over the control socket

    async def _status(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "pid": os.getpid(),
            "var": str(self.place.var),
            "home": str(self._home) if self._home else None,
            "url": self.url,
            "started_at": self._started_at,
            "services": [service.status(self._plans.get(service.name)) for service in self.services.values()],
            "servers": [server.status() for server in self._backends.servers],
        }

    async def _pause_asked(self) -> dict[str, Any]:
        if self.state != "running":
            raise StackError(f"the stack is {self.state}: try again when it is running")
        done = await self._pause.begin()
        self.state = "paused"
        self._in_background(self._pause.watch())
        return done

    async def _stop_asked(self) -> dict[str, Any]:
        self._stopping.set()
        return {"pid": os.getpid()}

    async def _reload_asked(self, service: str | None = None) -> dict[str, Any]:
        """A fault in the settings of one service must not leave the others with new ones."""
        if service is None:
            async with preparation(self.place, self._backends.environ()) as preparing:
                answer = await preparing.check()
            if faults := answer["faults"]:
                raise StackError(_sentences(faults))
        return await self._restart(service)

    async def _restart(self, service: str | None = None) -> dict[str, Any]:
        if service is not None and service not in self.services:
            raise StackError(f"no service is named {service}: {', '.join(SERVICES)}")
        outcomes = await self.reload([service] if service else SERVICES)
        if refusals := [reason for reason in outcomes.values() if reason]:
            raise StackError("\n".join(refusals))
        return {"reloaded": list(outcomes)}


def _sentences(faults: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {text}" if text else name for name, text in faults.items())


def _probe_ports(plans: dict[str, Plan]) -> None:
    """Names every port that is taken, before anything is started for nothing."""
    taken = []
    for name, plan in plans.items():
        for listener in plan.listen:
            if listener.path:
                continue
            try:
                bind(listener).close()
            except CannotStart as error:
                taken.append(f"{name}: {error}")
    if taken:
        raise StackError("\n".join(taken))


def _url(plan: Plan) -> str:
    listener = next(listener for listener in plan.listen if listener.name == "http")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listener.host)  # noqa: S104 - read, not bound
    return f"http://{host or (f'[{listener.host}]' if ':' in listener.host else listener.host)}:{listener.port}"
