"""The checks of every doctor, in the shape that the production one takes."""

from collections.abc import Iterator

from ops.stack.condition import condition
from ops.stack.doctor import Finding
from ops.stack.doctor import machine as _machine
from ops.stack.doctor import servers as _servers
from ops.stack.doctor import settings as _settings
from ops.stack.doctor import state as _state
from ops.stack.doctor.production.host import Host


def settings(host: Host) -> Iterator[Finding]:
    plans, finding = _settings.check(host.configuration)
    yield finding
    yield _settings.ports(plans, condition(host.place))


def state(host: Host) -> Iterator[Finding]:
    yield from _state.findings(host.place)


def machine(host: Host) -> Iterator[Finding]:
    yield _machine.python()
    yield _machine.wheels(host.configuration)


def database(host: Host) -> Iterator[Finding]:
    yield from _servers.database(host.configuration)


def store(host: Host) -> Iterator[Finding]:
    yield from _servers.store(host.configuration)
