"""Caddy as a bare reverse proxy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running, running
from ops.bench.programs import program

_CADDYFILE = """{
  admin off
  auto_https off
}
http://127.0.0.1:%d {
  reverse_proxy 127.0.0.1:%d
}
"""


@contextmanager
def _run(setting: Setting) -> Iterator[Running]:
    caddy = program("caddy", "caddy")
    configuration = setting.folder / "Caddyfile"
    configuration.write_text(_CADDYFILE % (setting.port, setting.upstream_port))
    environ = {name: str(setting.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    environ |= {"GOMAXPROCS": str(setting.workers)}
    words: list[str | Path] = [caddy, "run", "--config", configuration, "--adapter", "caddyfile"]
    with running(words, setting.port, setting.folder / "caddy.log", environ) as started:
        yield started


BARE = Peer(name="Caddy", does="passes the request on (GOMAXPROCS=1); no policy, no log", run=_run)
