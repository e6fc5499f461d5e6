"""What is measured: a stack of its own with one worker each, and an upstream that answers a constant."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import edge.settings
from ops.stack.place import Place

# Far above what can be reached, so that every check admits; a short window keeps the lists short.
LIMIT = "1000000/1"
ROUTES = """
include = []
[upstream.bench]
servers = ["http://127.0.0.1:{port}"]
[[route]]
path = "/bare"
upstream = "bench"
auth = "none"
limits = []
[[route]]
path = "/limited"
upstream = "bench"
auth = "none"
limits = ["general"]
"""


@contextmanager
def constant_upstream() -> Iterator[int]:
    port = _free_ports(1)[0]
    process = subprocess.Popen([sys.executable, "-m", "ops.bench.upstream", str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def stack(place: Place, upstream_port: int) -> Iterator[None]:
    place.prepare()
    own = Path(edge.settings.__file__).with_name("routes.toml").read_text().partition("[upstream.auth]")
    routes = place.var / "routes.toml"
    routes.write_text(ROUTES.format(port=upstream_port) + own[1] + own[2])
    with running(place, {"EDGE_ROUTES": str(routes), "LIMIT_GENERAL": LIMIT}):
        yield


@contextmanager
def running(place: Place, given: Mapping[str, str]) -> Iterator[None]:
    """A whole stack over `place` on free ports, with embedded servers and these settings and no others."""
    ports = dict(zip(("EDGE_PORT", "AUTH_PORT", "CORE_PORT"), map(str, _free_ports(3)), strict=True))
    environ = {name: value for name, value in os.environ.items() if not name.endswith(("_URL", "ENV"))}
    environ |= {**ports, "GATEHOUSE_VAR": str(place.var), "GATEHOUSE_ENV_FILE": os.devnull, **given}
    gatehouse = [sys.executable, "-m", "ops.cli"]
    subprocess.run([*gatehouse, "up", "--detach"], env=environ, stdout=subprocess.DEVNULL, check=True)
    try:
        yield
    finally:
        subprocess.run([*gatehouse, "down"], env=environ, stdout=subprocess.DEVNULL, check=True)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
