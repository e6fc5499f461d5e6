"""`python -m ops.docker.check`: runs the compose stack for real, breaks it, and looks whether its data stays.

A project of its own on a free port: a stack that is running stays as it is. Containers and volumes are removed at the
end; the image stays, so that the next check builds quickly.
"""

import sys
import time

from ops.docker import checking
from ops.docker.checking import DOWN_SECONDS, UP_SECONDS, await_, require, told
from ops.docker.compose import ROOT, Compose
from ops.docker.journey import Edge, travel

_PROJECT = "gatehouse-check"
_SERVICES = ("edge", "auth", "core")
_SERVERS = ("postgres", "valkey")
_ONE_SHOTS = ("setup", "migrate")


class Check(checking.Stack):
    """The steps, in order; each one is told with the time it took."""

    def __init__(self, compose: Compose, port: int) -> None:
        super().__init__(compose, Edge(port))
        self._port = port

    def run(self) -> None:
        with told("build the images"):
            self._compose.run("build", seconds=checking.BUILD_SECONDS)
        self._up("start")
        with told("only the edge is published, everything is healthy"):
            self._look_at_containers()
        with told("every process runs as uid 1000, without .git, .env, tests or var"):
            checking.look_inside(self._compose, _SERVICES)
        with told("journey"):
            traces = travel(self._edge)
        with told("restart core"):
            self._compose.run("restart", "core", seconds=DOWN_SECONDS)
            self._still_there(traces)
        with told("a changed source is reloaded"):
            self._touch_source()
        with told("without its database, core is unhealthy; with it, healthy again"):
            self._stop_database()
            self._still_there(traces)
        with told("stop"):
            self._compose.run("down", seconds=DOWN_SECONDS)
        self._up("start over the same volumes")
        with told("the data is still there"):
            self._still_there(traces)

    def _look_at_containers(self) -> None:
        await_(lambda: self._health("edge") == "healthy", "the edge's container does not become healthy")
        containers = self._compose.containers()
        for name in (*_SERVICES, *_SERVERS):
            require(containers[name]["Health"] == "healthy", f"{name} is {containers[name]['Health'] or 'unchecked'}")
        for name in _ONE_SHOTS:
            require(containers[name]["ExitCode"] == 0, f"{name} ended with {containers[name]['ExitCode']}")
        published = checking.published(self._compose)
        require(published == {("edge", self._port)}, f"published: {sorted(published)}")

    def _touch_source(self) -> None:
        (ROOT / "edge" / "__init__.py").touch()
        touched = time.monotonic()

        def is_younger() -> bool:
            return bool(self._edge.call("GET", "/health")["uptime"] < time.monotonic() - touched)

        await_(is_younger, "the edge does not reload when its source changes")

    def _stop_database(self) -> None:
        self._compose.run("stop", "postgres", seconds=DOWN_SECONDS)
        await_(lambda: self._health("core") == "unhealthy", "core's container stays healthy without its database")
        self._compose.run("start", "postgres", seconds=UP_SECONDS)
        await_(lambda: self._health("core") == "healthy", "core's container does not become healthy again")

    def _health(self, name: str) -> str:
        return str(self._compose.containers()[name]["Health"])


def main() -> int:
    """0 when all is well, 1 with the reason on stderr."""
    port = checking.free_port()
    environ = {"EDGE_PORT": str(port), "EDGE_HOST": "127.0.0.1"}
    return checking.run("compose-check", lambda: Compose(_PROJECT, environ), lambda found: Check(found, port).run())


if __name__ == "__main__":
    sys.exit(main())
