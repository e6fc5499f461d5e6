"""What may be wrong with a machine or a stack, and what to do about each."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail", "skip"]


class Finding(NamedTuple):
    """`fix` says what to do; empty where there is nothing to do."""

    name: str
    state: State
    detail: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Every check in turn, as it is done."""
    from ops.stack import configuration  # noqa: PLC0415 - the package's names must not cost the imports of all checks
    from ops.stack.condition import condition  # noqa: PLC0415
    from ops.stack.doctor import certificates, machine, servers, settings, state  # noqa: PLC0415

    read = configuration.read()
    status = condition(read.place)
    yield machine.python()
    yield machine.wheels(read)
    yield from state.findings(read.place)
    plans, finding = settings.check(read)
    yield finding
    yield settings.ports(plans, status)
    yield certificates.check(read)
    yield from servers.database(read)
    yield from servers.store(read)
    yield settings.services(status)
