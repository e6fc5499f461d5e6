"""`python -m ops.docker.production`: runs docker-compose.prod.yml for real, behind nginx with TLS, and breaks it.

A project of its own on free ports, with a certificate of its own. NGINX_IMAGE names another image of nginx.
"""

import http.client
import ssl
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from ops import smoke
from ops.docker import checking
from ops.docker.certificate import self_signed
from ops.docker.checking import DOWN_SECONDS, UP_SECONDS, await_, require, told
from ops.docker.compose import Compose, ComposeError
from ops.docker.journey import Edge, travel

_PROJECT = "gatehouse-prod-check"
_FILES = ("docker-compose.prod.yml", "ops/docker/failing.yml")
_DOMAIN = "api.gatehouse.test"
_SERVICES = ("edge", "auth", "core")
_SERVERS = ("postgres", "valkey", "nginx")
_LISTENING = {"edge": 8080, "auth": 8081, "core": 8082, "postgres": 5432, "valkey": 6379}
# Three failures in a row, 30 s apart, each at most ten seconds long.
_UNHEALTHY_SECONDS = 150.0
_MEGABYTE = 1024 * 1024
_CONNECT = """
import socket, sys
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print(target)
    except OSError:
        pass
"""
_KILL = "import os, signal; os.kill(-1, signal.SIGKILL)"


class Production(checking.Stack):
    """The steps, in order; each one is told with the time it took."""

    def __init__(self, compose: Compose, ports: tuple[int, int], root: Path) -> None:
        self._http_port, self._https_port = ports
        context = ssl.create_default_context(cafile=root)
        super().__init__(compose, Edge(self._https_port, host=_DOMAIN, address="127.0.0.1", context=context))

    def run(self) -> None:
        with told("build the image"):
            self._compose.run("build", seconds=checking.BUILD_SECONDS)
        self._up("start")
        with told("port 80 leads to https, and nothing else is published"):
            self._look_from_outside()
        with told("nobody is root, and the image holds nothing that it should not"):
            checking.look_inside(self._compose, (*_SERVICES, "nginx"))
        with told("root file systems and secrets cannot be written"):
            self._try_to_write()
        with told("no secret stands in an environment"):
            self._look_for_secrets()
        with told("journey over HTTPS"):
            traces = travel(self._edge)
        with told("smoke test over HTTPS"):
            self._smoke()
        with told("every service comes back after it was killed"):
            for name in _SERVICES:
                self._kill(name)
            self._still_there(traces)
        with told("a migration that fails stops the start"):
            self._fail_to_migrate()
        with told("backup"):
            self._compose.run("run", "--rm", "backup", seconds=UP_SECONDS)
        with told("an application that answers 500 or hangs is unhealthy"):
            self._await_health("unhealthy", "answers-500", "hangs")
        with told("everything else is healthy"):
            self._await_health("healthy", *_SERVICES, *_SERVERS)
        with told("memory within 512 MB each"):
            self._measure_memory()
        with told("stop"):
            self._compose.run("down", seconds=DOWN_SECONDS)
        self._up("start over the same volumes")
        with told("the data is still there"):
            self._still_there(traces)

    def _look_from_outside(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=10)) as connection:
            connection.request("GET", "/x?y=1", headers={"Host": _DOMAIN})
            answer = connection.getresponse()
            location = answer.getheader("Location")
        require((answer.status, location) == (301, f"https://{_DOMAIN}/x?y=1"), f"{answer.status} to {location}")
        published = checking.published(self._compose)
        expected = {("nginx", self._http_port), ("nginx", self._https_port)}
        require(published == expected, f"published: {sorted(published)}")
        # Another container of this machine, in no network of the stack, is as far outside as one gets here.
        targets = [f"{self._address(name)}:{port}" for name, port in _LISTENING.items()]
        reached = self._outsider(*targets)
        require(not reached, f"reached from outside of the stack's networks: {reached}")

    def _address(self, name: str) -> str:
        said = self._compose.run("exec", "-T", name, "hostname", "-i").split()
        require(bool(said), f"{name} has no address")
        return said[0]

    def _outsider(self, *targets: str) -> str:
        return self._compose.run("run", "--rm", "--no-deps", "-T", "outsider", "python", "-c", _CONNECT, *targets)

    def _try_to_write(self) -> None:
        for name in (*_SERVICES, *_SERVERS):
            self._refused(name, "touch /usr/local/written")
        for name in _SERVICES:
            self._refused(name, "touch /var/lib/gatehouse/secrets/SECRET_KEY")

    def _refused(self, name: str, command: str) -> None:
        said = self._compose.run("exec", "-T", name, "sh", "-c", f"{command} 2>&1 || true")
        require("Read-only file system" in said, f"{name}: `{command}` was not refused: {said or 'done'}")

    def _look_for_secrets(self) -> None:
        kept = self._compose.run("exec", "-T", "auth", "sh", "-c", "cat /var/lib/gatehouse/secrets/*").split()
        require(len(kept) > 8, f"only {len(kept)} secrets are kept")
        for name in (*_SERVICES, *_SERVERS):
            environ = self._compose.run("exec", "-T", name, "env")
            require(not any(secret in environ for secret in kept), f"a secret is in the environment of {name}")

    def _smoke(self) -> None:
        marker = smoke.run(self._edge, lambda _: None)
        for name in _SERVICES:
            lines = self._compose.run("logs", "--no-log-prefix", name).splitlines()
            smoke.require_logged(name, lines, marker)

    def _kill(self, name: str) -> None:
        """Everything in it at once, as when its memory is used up; what Docker itself kills stays dead."""
        started = self._started(name)
        with suppress(ComposeError):  # it ends with what it kills
            self._compose.run("exec", "-T", name, "python", "-c", _KILL)
        await_(lambda: self._started(name) != started, f"{name} does not come back")

    def _started(self, name: str) -> str:
        """When its process 1 began, in clock ticks; empty while it is not there."""
        try:
            return self._compose.run("exec", "-T", name, "cut", "-d ", "-f22", "/proc/1/stat").strip()
        except ComposeError:
            return ""

    def _fail_to_migrate(self) -> None:
        wrong = "MIGRATE_DATABASE_URL=postgresql://nobody:wrong@postgres:5432/gatehouse"
        try:
            self._compose.run("run", "--rm", "--no-deps", "-e", wrong, "migrate", seconds=UP_SECONDS)
        except ComposeError:
            return
        require(False, "a migration that cannot connect ended with 0")

    def _await_health(self, wanted: str, *names: str) -> None:
        for name in names:
            await_(lambda name=name: self._health(name) == wanted, f"{name} is not {wanted}", _UNHEALTHY_SECONDS)  # type: ignore[misc]

    def _measure_memory(self) -> None:
        """Each service's own figure, as its health endpoint tells it, beside the limit."""
        for name in _SERVICES:
            script = "cat /sys/fs/cgroup/memory.current 2>/dev/null || cat /sys/fs/cgroup/memory/memory.usage_in_bytes"
            used = int(self._compose.run("exec", "-T", name, "sh", "-c", script)) // _MEGABYTE
            print(f"{name} {used} MB,", end=" ")
            require(used < 512, f"{name} uses {used} MB")

    def _health(self, name: str) -> str:
        return str(self._compose.containers()[name]["Health"])


def main() -> int:
    """0 when all is well, 1 with the reason on stderr."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-prod-check-") as folder:
        root = self_signed(Path(folder), _DOMAIN)
        ports = (checking.free_port(), checking.free_port())
        environ = {
            "DOMAINS": _DOMAIN,
            "COMPOSE_PROFILES": "nginx",
            "CERTIFICATES": folder,
            "FRONT_HOST": "127.0.0.1",
            "FRONT_HTTP_PORT": str(ports[0]),
            "FRONT_HTTPS_PORT": str(ports[1]),
            "FRONT_NETWORK": "172.31.251",
        }
        return checking.run(
            "prod-check",
            lambda: Compose(_PROJECT, environ, *_FILES),
            lambda compose: Production(compose, ports, root).run(),
        )


if __name__ == "__main__":
    sys.exit(main())
