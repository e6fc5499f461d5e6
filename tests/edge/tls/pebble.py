"""An ACME authority for tests: Debian's pebble, with a name server for which every name is this machine."""

import json
import os
import re
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ops.site import Authority
from tests.ops.stacks import free_ports
from tests.tools import tool

START_SECONDS = 20


@dataclass
class Pebble:
    """It validates at `http_port`; `bundle` vouches for its own HTTPS. `root` is who signs what it issues."""

    directory: str
    bundle: Path
    http_port: int
    log: Path
    management: str

    def orders(self) -> int:
        """How many there have been."""
        counts = re.findall(r"There are now (\d+) orders in the db", self.log.read_text())
        return int(counts[-1]) if counts else 0

    def root(self) -> str:
        context = ssl.create_default_context(cafile=str(self.bundle))
        with urllib.request.urlopen(f"{self.management}/roots/0", context=context) as answer:
            return answer.read().decode()


@contextmanager
def running(folder: Path) -> Iterator[Pebble]:
    programs = tool("pebble"), tool("pebble-challtestsrv")
    listen, management, http, names, nothing = free_ports(5)
    authority = Authority(folder)
    certificate = authority.issue("127.0.0.1")
    config = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(certificate),
        "httpPort": http,
        "tlsPort": nothing,
        "certificateValidityPeriod": 90 * 86_400,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    log = folder / "pebble.log"
    names_only = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
    server = [programs[1], "-dns01", f"127.0.0.1:{names}", "-management", f"127.0.0.1:{nothing}", *names_only]
    issuer = [programs[0], "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"]
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
    with log.open("wb") as output, _child(server, environ, output), _child(issuer, environ, output):
        pebble = Pebble(
            f"https://127.0.0.1:{listen}/dir", authority.bundle, http, log, f"https://127.0.0.1:{management}"
        )
        _wait(pebble)
        yield pebble


@contextmanager
def _child(command: list[str], environ: dict[str, str], output: object) -> Iterator[None]:
    process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait(pebble: Pebble) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            pebble.root()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
