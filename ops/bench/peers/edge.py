"""The edge as it ships, with BENCH_UPSTREAM."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson

from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running, free_ports, running

# What a shell may have set, and what must not reach an edge that is measured.
_KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHONPATH")

_ROUTES = Path(__file__).with_name("edge_routes.toml")


@contextmanager
def run(setting: Setting, **given: str) -> Iterator[Running]:
    """`given` are further settings of the edge."""
    issuer = [sys.executable, "-m", "ops.bench.issuer"]
    issuer_port = free_ports(1)[0]
    words = [*issuer, str(issuer_port), orjson.dumps(setting.issuer.jwk).decode()]
    with running(words, issuer_port, setting.folder / "issuer.log"):
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environ |= _settings(setting, issuer_port) | given
        words = [sys.executable, "-m", "edge"]
        with running(words, setting.port, setting.access_log, environ) as edge:
            yield edge


def _settings(setting: Setting, issuer_port: int) -> dict[str, str]:
    return {
        "GATEHOUSE_VAR": str(_var(setting)),
        "GATEHOUSE_ENV_FILE": os.devnull,
        "EDGE_PORT": str(setting.port),
        "EDGE_WORKERS": str(setting.workers),
        "AUTH_URL": f"http://127.0.0.1:{issuer_port}",
        "AUTH_SERVICE_KEY": "a" * 40,
        "CORE_SERVICE_KEY": "c" * 40,
        "REDIS_URL": setting.redis_url,
        "LIMIT_GENERAL": f"{setting.limit}/{setting.window_seconds}",
        "BENCH_UPSTREAM": f"http://127.0.0.1:{setting.upstream_port}",
        "EDGE_ROUTES": str(_routes(setting)),
    }


def add_routes(setting: Setting, text: str) -> None:
    """A further file of the table."""
    more = setting.folder / "more"
    more.mkdir(exist_ok=True)
    (more / "routes.toml").write_text(text)


def _routes(setting: Setting) -> Path:
    """The table of the bench; a case puts further files into `more` beside it."""
    return Path(shutil.copy(_ROUTES, setting.folder / "routes.toml"))


def _var(setting: Setting) -> Path:
    var = setting.folder / "var"
    (var / "run").mkdir(parents=True, exist_ok=True)
    return var


PEER = Peer(
    name="edge",
    does="verifies the JWT (Ed25519) once and remembers it, exact limit in Valkey, request id, access log (JSON), "
    "metrics, security headers, usage record",
    run=run,
    algorithm="EdDSA",
    is_exact=True,
    has_log=True,
)


@contextmanager
def _run_with_sockets(setting: Setting) -> Iterator[Running]:
    bounds = "stream = { per_caller = 10000 }"  # the bench is one caller
    add_routes(setting, f'[[route]]\npath = "/socket"\nupstream = "it"\nwebsocket = true\n{bounds}\n')
    with run(setting) as edge:
        yield edge


WITH_SOCKETS = replace(PEER, run=_run_with_sockets)
