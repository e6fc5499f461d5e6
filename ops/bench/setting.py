"""What all cases share: a folder, a store, an issuer, an upstream; and peers started side by side."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from common.limits.store import SCRIPT
from ops import secrets
from ops.bench.check import check
from ops.bench.issuer import Issuer
from ops.bench.load import Request
from ops.bench.peers import Peer, Setting
from ops.bench.processes import NotStarted, Running, free_ports, running
from ops.bench.programs import Unavailable
from ops.embedded import Valkey


@dataclass(frozen=True)
class Bench:
    """`rounds` of `seconds` each; `wanted` are names of peers, empty for all."""

    folder: Path
    upstream: Running
    redis_url: str
    issuer: Issuer
    rounds: int
    seconds: int
    wanted: Sequence[str] = ()

    def setting(self, name: str) -> Setting:
        """For one peer: a folder and a port of its own."""
        folder = Path(tempfile.mkdtemp(prefix=name.replace(" ", "-") + "-", dir=self.folder))
        port = free_ports(1)[0]
        upstream = self.upstream.port
        return Setting(folder=folder, port=port, upstream_port=upstream, redis_url=self.redis_url, issuer=self.issuer)

    def request(self, peer: Peer, at: Running, path: str = "/bench", body_bytes: int = 0) -> Request:
        headers = {}
        if peer.algorithm is not None:
            headers["Authorization"] = f"Bearer {self.issuer.token(peer.algorithm)}"
        return Request(at.url + path, headers, body_bytes)


@contextmanager
def bench(*, rounds: int, seconds: int, wanted: Sequence[str] = ()) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the store runs as somebody else
        words = [sys.executable, "-m", "ops.bench.upstream"]
        port = free_ports(1)[0]
        with (
            Valkey(folder / "var", secrets.ensure(folder / "var", {})) as valkey,
            running([*words, str(port)], port, folder / "upstream.log") as upstream,
        ):
            with Redis.from_url(valkey.url) as redis:
                redis.script_load(SCRIPT)
            yield Bench(folder, upstream, valkey.url, Issuer(), rounds, seconds, wanted)


@contextmanager
def side_by_side(
    bench: Bench, peers: Sequence[Peer], skipped: dict[str, str]
) -> Iterator[dict[str, tuple[Peer, Running]]]:
    """All that this machine can have, checked and running; the others are in `skipped` with the reason.

    Raises NotAsSaid.
    """
    with ExitStack() as stack:
        started = {}
        for peer in peers:
            if bench.wanted and peer.name not in bench.wanted:
                continue
            setting = bench.setting(peer.name)
            try:
                check(peer, setting, free_ports(1)[0])
                started[peer.name] = (peer, stack.enter_context(peer.run(setting)))
            except (Unavailable, NotStarted) as error:
                skipped[peer.name] = str(error)
        yield started
