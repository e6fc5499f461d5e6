"""HAProxy: bare, and with the policy that it can do by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ops.bench.peers import Peer, Setting, rendered
from ops.bench.processes import Running, running
from ops.bench.programs import libraries, program


@contextmanager
def _run(setting: Setting, *, policy: bool) -> Iterator[Running]:
    haproxy = program("haproxy", "haproxy", "liblua5.3-0")
    configuration = rendered("haproxy.cfg.j2", setting.folder / "haproxy.cfg", setting=setting, policy=policy)
    with running([haproxy, "-db", "-f", configuration], setting.port, setting.access_log, libraries()) as started:
        yield started


BARE = Peer(
    name="HAProxy",
    does="passes the request on, keep-alive to both sides; no policy, no log",
    run=partial(_run, policy=False),
)
POLICY = Peer(
    name="HAProxy + JWT",
    does="verifies the JWT (HS256; it cannot do Ed25519) every time, a rate in its own memory instead of a shared "
    "store, request id, access log (JSON)",
    run=partial(_run, policy=True),
    algorithm="HS256",
    has_log=True,
)
