"""What the checks of both compose stacks have in common: steps that are told, conditions that are awaited, an end."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops.docker.compose import Compose, ComposeError
from ops.docker.journey import Edge, JourneyFailed, Traces, look_again

BUILD_SECONDS = 1200.0
UP_SECONDS = 180.0
DOWN_SECONDS = 90.0
HEALTH_SECONDS = 60.0
_POLL_SECONDS = 0.5
# Directories that are root's alone cannot be searched, and hold nothing of ours.
_UNWANTED = r"find / -xdev \( -name .git -o -name .env -o -path /app/tests -o -path /app/var \) 2>/dev/null || true"


class CheckFailed(Exception):
    """What is not as it should be."""


def require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise CheckFailed(otherwise)


def await_(condition: Callable[[], bool], otherwise: str, seconds: float = HEALTH_SECONDS) -> float:
    """How long it took. Raises CheckFailed after `seconds`."""
    started = time.monotonic()
    while not condition():
        require(time.monotonic() - started < seconds, f"{otherwise} within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - started


@contextmanager
def told(title: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"{title} …", end=" ", flush=True)
    yield
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """A compose stack and its edge as a client finds it: what every check does with them."""

    def __init__(self, compose: Compose, edge: Edge) -> None:
        self._compose = compose
        self._edge = edge

    def _up(self, title: str) -> None:
        with told(title):
            self._compose.run("up", "--detach", seconds=UP_SECONDS)
            self._edge.wait_ready(UP_SECONDS)

    def _still_there(self, traces: Traces) -> None:
        self._edge.wait_ready(HEALTH_SECONDS)
        look_again(self._edge, traces)


def published(compose: Compose) -> set[tuple[str, int]]:
    """Every service with each port of this machine that leads to it."""
    return {
        (name, publisher["PublishedPort"])
        for name, container in compose.containers().items()
        for publisher in container["Publishers"] or ()
        if publisher["PublishedPort"]
    }


def look_inside(compose: Compose, names: tuple[str, ...]) -> None:
    """Nobody is root, and the image has nothing that it must not have."""
    for name in names:
        uid = compose.run("exec", "-T", name, "id", "-u").strip()
        require(uid == "1000", f"{name} runs as uid {uid}")
    found = compose.run("exec", "-T", names[0], "sh", "-c", _UNWANTED).split()
    require(not found, f"the image contains {', '.join(found)}")


def run(title: str, make: Callable[[], Compose], check: Callable[[Compose], None]) -> int:
    """0 when all is well, 1 with the reason on stderr. Containers and volumes are removed, also a killed check's."""
    try:
        compose = make()
        compose.require_engine()
        _remove(compose)
        try:
            check(compose)
        except (ComposeError, CheckFailed, JourneyFailed):
            print("failed; the last words of every container:\n" + compose.run("logs", "--tail", "20"), file=sys.stderr)
            raise
        finally:
            _remove(compose)
    except (ComposeError, CheckFailed, JourneyFailed) as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 1
    print(f"{title}: all is well")
    return 0


def _remove(compose: Compose) -> None:
    """With what only some profile has."""
    compose.run("--profile", "*", "down", "--volumes", seconds=DOWN_SECONDS)
