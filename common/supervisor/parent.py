"""The parent process of a service: validates, binds, spawns, replaces, reloads, stops.

Every decision is a callback of `Loop`: a signal, a worker's message, a worker's end, a timer.
"""

import json
import signal
import time

from common.supervisor import systemd
from common.supervisor.check import Check
from common.supervisor.child import Child, Generation, ending
from common.supervisor.gathering import Metrics
from common.supervisor.listeners import Listeners
from common.supervisor.loop import Loop
from common.supervisor.output import Output
from common.supervisor.plan import CannotStart, parse

BOOT_SECONDS_MAX = 60
# A worker that lived this long died of something new: it is replaced without delay.
_YOUNG_SECONDS = 10
_DELAY_SECONDS, _DELAY_SECONDS_MAX = 0.1, 5
# After these the worker is killed: what it promised, and a margin for its own clean-up.
_MARGIN_SECONDS = 5
_STOP_SECONDS_MAX = 8
_DRAIN, _STOP, _KILL = 1, 2, 3


class Supervisor:
    """`_current` serves; `_next` boots and takes its place when all of its workers are ready."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._loop = Loop()
        self._output = Output()
        self._listeners = Listeners(systemd.inherited())
        self._metrics = Metrics(self._loop, self._live)
        self._children: dict[int, Child] = {}
        self._check: Check | None = None
        self._current: Generation | None = None
        self._next: Generation | None = None
        self._reload_again = False
        self._reloads = 0
        self._stopping = 0
        self._exit_status = 0

    def run(self) -> int:
        """Until stopped. 0, or 1 when the service could not start."""
        self._loop.on_signals((signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD), self._signalled)
        try:
            if every := systemd.signs_of_life_seconds():
                self._give_sign_of_life(every)
            self._begin_check()
            self._loop.run()
        finally:
            self._listeners.close()
            self._listeners.unlink()
            self._loop.close()
        return self._exit_status

    def _give_sign_of_life(self, every_seconds: float) -> None:
        systemd.notify("WATCHDOG=1")
        self._loop.later(every_seconds, lambda: self._give_sign_of_life(every_seconds))

    # Starting and reloading

    def _reload(self) -> None:
        if self._stopping:
            return
        if self._check or self._next:
            self._reload_again = True
            return
        self._reloads += 1
        systemd.notify(*systemd.reloading(), f"STATUS=reload {self._reloads} is under way")
        self._begin_check()

    def _begin_check(self) -> None:
        self._output.follow()
        try:
            self._check = Check(self._service, self._loop, self._checked)
        except OSError as error:
            self._refuse(f"its settings could not be checked: {error.strerror}")

    def _checked(self, status: int, output: bytes) -> None:
        check, self._check = self._check, None
        if self._stopping or check is None:
            self._finish_if_empty()
            return
        if status:
            has_named_faults = status > 0
            reason = "its settings or its code are refused" if has_named_faults else f"its check was {ending(status)}"
            self._refuse("" if has_named_faults and self._current is None else reason)
            return
        try:
            plan = parse(output)
            self._output.use(plan.log)
            self._next = Generation(plan, self._listeners.open(plan), check.interpreter)
        except CannotStart as refusal:
            self._refuse(str(refusal))
            return
        for ordinal in range(plan.workers):
            self._spawn(self._next, ordinal)

    def _refuse(self, reason: str) -> None:
        if self._current is None:
            if reason:
                self._say(reason)
            self._exit_status = 1
            self._stop(_STOP)
            return
        refusal = f"not reloaded, the old workers stay: {reason}"
        self._say(refusal)
        self._settled(refusal)

    def _promote(self, generation: Generation) -> None:
        self._current, self._next = generation, None
        for child in self._children.values():
            if child.generation is not generation and child.state != "retiring":
                self._retire(child, "reload")
        self._listeners.keep(generation.plan)
        ready = f"ready ({generation.plan})"
        self._say(ready)
        self._settled(ready)

    def _abandon(self, generation: Generation, reason: str) -> None:
        self._next = None
        for child in self._children.values():
            if child.generation is generation:
                self._retire(child, "stop")
        if self._current:
            self._listeners.keep(self._current.plan)
        self._refuse(reason)

    def _settled(self, how: str) -> None:
        # Whoever asked for the reload reads this, in `systemctl status` or by program; the number tells it from others.
        systemd.notify("READY=1", f"STATUS=reload {self._reloads}: {how}")
        if self._reload_again:
            self._reload_again = False
            self._reload()

    # Workers

    def _spawn(self, generation: Generation, ordinal: int) -> None:
        if self._stopping or generation not in (self._current, self._next):
            return
        self._output.follow()
        try:
            child = Child(self._service, generation, ordinal)
        except OSError as error:
            self._failed(generation, ordinal, f"worker {ordinal} could not be started: {error.strerror}")
            return
        child.connect(self._loop, self._received)
        self._children[child.pid] = child
        self._loop.later(BOOT_SECONDS_MAX, lambda: self._boot_overdue(child))

    def _boot_overdue(self, child: Child) -> None:
        if child.state == "booting":
            self._say(f"worker {child.ordinal} (pid {child.pid}) is not ready after {BOOT_SECONDS_MAX} s")
            child.kill()

    def _received(self, child: Child, line: bytes) -> None:
        message = json.loads(line)
        match message["op"]:
            case "ready":
                self._ready(child)
            case "merge":
                self._metrics.ask(child, message["id"])
            case "snapshot":
                self._metrics.answered(child, message["id"], line)
            case "final":
                self._metrics.left(child, message["families"])
            case "status":
                child.channel.send({"op": "status", "id": message["id"], "workers": self._status()})

    def _ready(self, child: Child) -> None:
        if child.state != "booting":
            return
        child.state = "ready"
        generation = child.generation
        mates = [mate for mate in self._children.values() if mate.generation is generation]
        if generation is self._next and sum(mate.state == "ready" for mate in mates) == generation.plan.workers:
            self._promote(generation)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            status = child.exit_status()
            if status is not None:
                self._died(child, status)

    def _died(self, child: Child, status: int) -> None:
        del self._children[child.pid]
        child.channel.drain()
        self._metrics.left(child)
        if child.state == "retiring":
            if status:
                self._say(f"worker {child.ordinal} (pid {child.pid}) did not end well: {ending(status)}")
            self._finish_if_empty()
            return
        if time.monotonic() - child.born >= _YOUNG_SECONDS:
            child.generation.young_deaths[child.ordinal] = 0
        self._failed(
            child.generation, child.ordinal, f"worker {child.ordinal} (pid {child.pid}) died: {ending(status)}"
        )

    def _failed(self, generation: Generation, ordinal: int, what: str) -> None:
        """Abandons a generation that cannot boot, replaces a worker of the one that serves."""
        if generation is self._next:
            self._abandon(generation, what)
            return
        deaths = generation.young_deaths[ordinal]
        delay = min(_DELAY_SECONDS * 2 ** (deaths - 1), _DELAY_SECONDS_MAX) if deaths else 0.0
        generation.young_deaths[ordinal] += 1
        generation.restarts[ordinal] += 1
        self._say(f"{what}; replacing it" + (f" in {delay:g} s" if delay else ""))
        self._loop.later(delay, lambda: self._spawn(generation, ordinal))

    def _live(self) -> list[Child]:
        return [child for child in self._children.values() if child.state != "booting" and not child.has_left]

    def _status(self) -> list[dict[str, object]]:
        return [
            {
                "worker": child.ordinal,
                "pid": child.pid,
                "state": child.state,
                "restarts": child.generation.restarts[child.ordinal],
                "started_at": child.started_at,
            }
            for child in self._children.values()
        ]

    # Stopping

    def _signalled(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGCHLD:
                self._reap()
            case signal.SIGHUP:
                self._reload()
            case signal.SIGTERM:
                self._stop(max(_DRAIN, self._stopping + 1))
            case signal.SIGINT:
                self._stop(max(_STOP, self._stopping + 1))

    def _stop(self, level: int) -> None:
        """Each further signal hastens: drain, then stop, then kill."""
        if not self._stopping:
            systemd.notify("STOPPING=1")
            # The workers have their own copies; when they close them, clients are refused, not kept waiting.
            self._listeners.close()
        self._stopping = level
        self._next = None
        if self._check:
            self._check.kill()
        for child in self._children.values():
            if level >= _KILL:
                child.kill()
            elif level == _STOP or child.state != "retiring":
                self._retire(child, "stop" if level == _STOP else "drain")
        self._finish_if_empty()

    def _retire(self, child: Child, manner: str) -> None:
        plan = child.generation.plan
        promised = plan.lame_duck_seconds + plan.shutdown_seconds + _MARGIN_SECONDS
        child.retire(manner)
        self._loop.later(_STOP_SECONDS_MAX if manner == "stop" else promised, child.kill)

    def _finish_if_empty(self) -> None:
        if self._stopping and not self._children and not self._check:
            self._loop.stop()

    def _say(self, text: str) -> None:
        self._output.say(f"{self._service}: {text}")
