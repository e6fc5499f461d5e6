"""FastAPI with httpx, under uvicorn, in an environment of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from common.limits.store import SCRIPT_SHA
from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running, running
from ops.bench.programs import BUILD, command

_HERE = Path(__file__).parent


@contextmanager
def _run(setting: Setting) -> Iterator[Running]:
    python = _installed()
    given = {
        "upstream": f"http://127.0.0.1:{setting.upstream_port}",
        "redis": setting.redis_url,
        "script": SCRIPT_SHA,
        "secret": setting.issuer.shared_secret,
        "log": str(setting.access_log),
        "limit": setting.limit,
        "window": setting.window_seconds,
    }
    words: list[str | Path] = [python, "-m", "uvicorn", "application:app", "--app-dir", _HERE, "--no-access-log"]
    words += ["--port", str(setting.port), "--workers", str(setting.workers), "--log-level", "warning"]
    environ = {"BENCH_SETTING": orjson.dumps(given).decode()}
    with running(words, setting.port, setting.folder / "uvicorn.log", environ) as started:
        yield started


def _installed() -> Path:
    """The interpreter of an environment with its packages, in build/bench."""
    folder = BUILD / "fastapi"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        command([sys.executable, "-m", "venv", folder], BUILD, "making an environment")
        required = _HERE / "requirements.txt"
        command([python, "-m", "pip", "install", "--quiet", "-r", required], BUILD, "pip install")
        done.touch()
    return python


PEER = Peer(
    name="FastAPI",
    does="uvicorn (uvloop, httptools) and httpx.AsyncClient; PyJWT verifies the JWT (HS256) every time, the edge's own "
    "limit script in Valkey by redis-py, request id, access log (JSON)",
    run=_run,
    algorithm="HS256",
    has_log=True,
)
