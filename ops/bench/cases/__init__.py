"""What is measured, by name. Each case takes the bench and gives sections back."""

from collections.abc import Callable, Iterable, Mapping

from ops.bench.cases import bodies, core, idle, latency, policy, scale, streams, tls
from ops.bench.report import Section
from ops.bench.setting import Bench

Case = Callable[[Bench], Iterable[Section]]
CASES: Mapping[str, Case] = {
    "policy": policy.run,
    "bodies": bodies.run,
    "tls": tls.run,
    "latency": latency.run,
    "streams": streams.run,
    "idle": idle.run,
    "scale": scale.run,
    "core": core.run,
}
