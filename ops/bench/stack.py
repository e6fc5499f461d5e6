"""A whole stack of its own: edge, auth, core and their servers, as `gatehouse up` starts them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ops.bench.processes import free_ports
from ops.stack.place import Place


@contextmanager
def running_stack(place: Place, given: Mapping[str, str]) -> Iterator[None]:
    """Over `place` on free ports, with embedded servers and these settings and no others."""
    ports = dict(zip(("EDGE_PORT", "AUTH_PORT", "CORE_PORT"), map(str, free_ports(3)), strict=True))
    environ = {name: value for name, value in os.environ.items() if not name.endswith(("_URL", "ENV"))}
    environ |= {**ports, "GATEHOUSE_VAR": str(place.var), "GATEHOUSE_ENV_FILE": os.devnull, **given}
    gatehouse = [sys.executable, "-m", "ops.cli"]
    subprocess.run([*gatehouse, "up", "--detach"], env=environ, stdout=subprocess.DEVNULL, check=True)
    try:
        yield
    finally:
        subprocess.run([*gatehouse, "down"], env=environ, stdout=subprocess.DEVNULL, check=True)
