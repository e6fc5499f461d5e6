"""What is measured, by name. Each case takes the bench and gives sections back."""

from collections.abc import Callable, Iterable, Mapping

from ops.bench.cases import core, policy
from ops.bench.report import Section
from ops.bench.setting import Bench

Case = Callable[[Bench], Iterable[Section]]
CASES: Mapping[str, Case] = {"policy": policy.run, "core": core.run}
