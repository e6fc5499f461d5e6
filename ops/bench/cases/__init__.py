"""What is measured, by name. Each case takes the bench and gives sections back."""

from collections.abc import Callable, Iterable, Mapping

from ops.bench.cases import bodies, core, latency, policy, tls
from ops.bench.report import Section
from ops.bench.setting import Bench

Case = Callable[[Bench], Iterable[Section]]
CASES: Mapping[str, Case] = {
    "policy": policy.run,
    "bodies": bodies.run,
    "tls": tls.run,
    "latency": latency.run,
    "core": core.run,
}
