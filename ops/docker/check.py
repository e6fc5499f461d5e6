"""`python -m ops.docker.check`: runs the compose stack for real, breaks it, and looks whether its data stays.

A project of its own on a free port: a stack that is running stays as it is. Containers and volumes are removed at the
end; the image stays, so that the next check builds quickly.
"""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ops.docker.compose import ROOT, Compose, ComposeError
from ops.docker.journey import Edge, JourneyFailed, Traces, look_again, travel

_PROJECT = "gatehouse-check"
_BUILD_SECONDS = 1200.0
_UP_SECONDS = 180.0
_DOWN_SECONDS = 90.0
_SERVICES = ("edge", "auth", "core")
_SERVERS = ("postgres", "valkey")
_ONE_SHOTS = ("setup", "migrate")
# Docker's own rule: three failures in a row, each at most ten seconds long.
_HEALTH_SECONDS = 60.0
_POLL_SECONDS = 0.5
# Directories that are root's alone cannot be searched, and hold nothing of ours.
_UNWANTED = r"find / -xdev \( -name .git -o -name .env -o -path /app/tests -o -path /app/var \) 2>/dev/null || true"


class CheckFailed(Exception):
    """What is not as it should be."""


class Check:
    """The steps, in order; each one is told with the time it took."""

    def __init__(self, compose: Compose, port: int) -> None:
        self._compose = compose
        self._port = port
        self._edge = Edge(port)

    def run(self) -> None:
        with _told("build the images"):
            self._compose.run("build", seconds=_BUILD_SECONDS)
        self._up("start")
        with _told("only the edge is published, everything is healthy"):
            self._look_at_containers()
        with _told("every process runs as uid 1000, without .git, .env, tests or var"):
            self._look_inside()
        with _told("journey"):
            traces = travel(self._edge)
        with _told("restart core"):
            self._compose.run("restart", "core", seconds=_DOWN_SECONDS)
            self._still_there(traces)
        with _told("a changed source is reloaded"):
            self._touch_source()
        with _told("without its database, core is unhealthy; with it, healthy again"):
            self._stop_database()
            self._still_there(traces)
        with _told("stop"):
            self._compose.run("down", seconds=_DOWN_SECONDS)
        self._up("start over the same volumes")
        with _told("the data is still there"):
            self._still_there(traces)

    def _up(self, title: str) -> None:
        with _told(title):
            self._compose.run("up", "--detach", seconds=_UP_SECONDS)
            self._edge.wait_ready(_UP_SECONDS)

    def _still_there(self, traces: Traces) -> None:
        self._edge.wait_ready(_HEALTH_SECONDS)
        look_again(self._edge, traces)

    def _look_at_containers(self) -> None:
        _await(lambda: self._health("edge") == "healthy", "the edge's container does not become healthy")
        containers = self._compose.containers()
        for name in (*_SERVICES, *_SERVERS):
            _require(containers[name]["Health"] == "healthy", f"{name} is {containers[name]['Health'] or 'unchecked'}")
        for name in _ONE_SHOTS:
            _require(containers[name]["ExitCode"] == 0, f"{name} ended with {containers[name]['ExitCode']}")
        published = {
            (name, publisher["PublishedPort"])
            for name, container in containers.items()
            for publisher in container["Publishers"] or ()
            if publisher["PublishedPort"]
        }
        _require(published == {("edge", self._port)}, f"published: {sorted(published)}")

    def _look_inside(self) -> None:
        for name in _SERVICES:
            uid = self._compose.run("exec", "-T", name, "id", "-u").strip()
            _require(uid == "1000", f"{name} runs as uid {uid}")
        found = self._compose.run("exec", "-T", "edge", "sh", "-c", _UNWANTED).split()
        _require(not found, f"the image contains {', '.join(found)}")

    def _touch_source(self) -> None:
        (ROOT / "edge" / "__init__.py").touch()
        touched = time.monotonic()

        def is_younger() -> bool:
            return bool(self._edge.call("GET", "/health")["uptime"] < time.monotonic() - touched)

        _await(is_younger, "the edge does not reload when its source changes")

    def _stop_database(self) -> None:
        self._compose.run("stop", "postgres", seconds=_DOWN_SECONDS)
        _await(lambda: self._health("core") == "unhealthy", "core's container stays healthy without its database")
        self._compose.run("start", "postgres", seconds=_UP_SECONDS)
        _await(lambda: self._health("core") == "healthy", "core's container does not become healthy again")

    def _health(self, name: str) -> str:
        return str(self._compose.containers()[name]["Health"])


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise CheckFailed(otherwise)


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _HEALTH_SECONDS
    while not condition():
        _require(time.monotonic() < deadline, f"{otherwise} within {_HEALTH_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)


@contextmanager
def _told(title: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"{title} …", end=" ", flush=True)
    yield
    print(f"{time.monotonic() - started:.1f} s", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """0 when all is well, 1 with the reason on stderr."""
    try:
        port = _free_port()
        compose = Compose(_PROJECT, {"EDGE_PORT": str(port), "EDGE_HOST": "127.0.0.1"})
        compose.require_engine()
        # Leftovers of a check that was killed.
        compose.run("down", "--volumes", seconds=_DOWN_SECONDS)
        try:
            Check(compose, port).run()
        except (ComposeError, CheckFailed, JourneyFailed):
            print("failed; the last words of every container:\n" + compose.run("logs", "--tail", "20"), file=sys.stderr)
            raise
        finally:
            compose.run("down", "--volumes", seconds=_DOWN_SECONDS)
    except (ComposeError, CheckFailed, JourneyFailed) as error:
        print(f"compose-check: {error}", file=sys.stderr)
        return 1
    print("compose-check: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
