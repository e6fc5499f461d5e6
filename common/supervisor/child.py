"""One worker process as the parent sees it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from common.supervisor.channel import Channel
from common.supervisor.loop import Loop
from common.supervisor.plan import Plan
from common.supervisor.release import PROTOCOL

# These speak to the parent alone.
_PARENTS_OWN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Generation:
    """The workers of one configuration and one release: `interpreter` is what starts Python for all of them."""

    def __init__(self, plan: Plan, sockets: Mapping[str, socket.socket], interpreter: Sequence[str]) -> None:
        self.plan = plan
        self.interpreter = interpreter
        self.sockets = sockets
        self.restarts = [0] * plan.workers
        self.young_deaths = [0] * plan.workers


class Child:
    """`state` goes booting → ready → retiring; the process may die at any time."""

    def __init__(self, service: str, generation: Generation, ordinal: int) -> None:
        """Spawns it. Raises OSError when the system refuses another process."""
        self.generation = generation
        self.ordinal = ordinal
        self.state = "booting"
        self.started_at = time.time()
        self.born = time.monotonic()
        # The last snapshot message as it came: parsed, it would cost the parent ten times the memory.
        self.snapshot: bytes | None = None
        self.has_left = False
        self.channel: Channel
        self._process, self._socket = _spawn(service, generation, ordinal)
        self.pid = self._process.pid

    def connect(self, loop: Loop, on_line: Callable[["Child", bytes], None]) -> None:
        self.channel = Channel(self._socket, loop, lambda line: on_line(self, line))

    def exit_status(self) -> int | None:
        """None while it runs; negative for a signal. Reaps it."""
        return self._process.poll()

    def retire(self, manner: str) -> None:
        """`reload`: others take over. `drain`: the service stops. `stop`: it stops, and quickly."""
        self.state = "retiring"
        self.channel.send({"op": "retire", "manner": manner})

    def kill(self) -> None:
        """Never signals a stranger: Popen looks first whether the process has been reaped."""
        self._process.kill()


def environment() -> dict[str, str]:
    """What our processes inherit, and what we speak with them."""
    inherited = {name: value for name, value in os.environ.items() if name not in _PARENTS_OWN}
    return inherited | {"GATEHOUSE_PROTOCOL": str(PROTOCOL)}


def ending(status: int) -> str:
    """An exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _spawn(service: str, generation: Generation, ordinal: int) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    plan, sockets = generation.plan, generation.sockets
    ours, theirs = socket.socketpair()
    told = {
        "GATEHOUSE_CHANNEL_FD": str(theirs.fileno()),
        "GATEHOUSE_LISTEN_FDS": ",".join(f"{name}={sock.fileno()}" for name, sock in sockets.items()),
        "GATEHOUSE_WORKER": str(ordinal),
        "GATEHOUSE_WORKERS": str(plan.workers),
        "GATEHOUSE_LAME_DUCK_SECONDS": str(plan.lame_duck_seconds),
        "GATEHOUSE_SHUTDOWN_SECONDS": str(plan.shutdown_seconds),
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*generation.interpreter, "-m", service, "worker"],
            stdin=subprocess.DEVNULL,
            env=environment() | told,
            pass_fds=[theirs.fileno(), *(sock.fileno() for sock in sockets.values())],
            # Ctrl-C in a terminal reaches the parent alone, which then stops the workers in order.
            process_group=0,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours
