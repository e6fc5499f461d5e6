"""What `restart` and `reload` share: ask whoever keeps the services for new workers."""

from typing import Any

import click

from ops.release.services import Systemd
from ops.stack import systemd
from ops.stack.control import ask
from ops.stack.errors import StackError
from ops.stack.place import MODULES, SERVICES, Place

_SECONDS_MAX = 240


def replaced(op: str, service: str | None) -> dict[str, Any]:
    """`{"reloaded": [services]}` when new workers serve. `service` is edge, auth, core or its package; None means all.

    With `op` "reload" nothing is touched while any service would refuse its settings. Raises StackError with every
    sentence of who refused, or when nothing runs.
    """
    names = {**{name: name for name in SERVICES}, **{module: name for name, module in MODULES.items()}}
    if service is not None and service not in names:
        raise click.BadParameter(f"{service} is none of {', '.join(SERVICES)}", param_hint="SERVICE")
    place, name = Place.find(), names[service] if service else None
    answer = ask(place, op, timeout=_SECONDS_MAX, service=name) or _by_systemd(place, op, [name] if name else SERVICES)
    if answer is None:
        raise StackError(f"nothing is running over {place.var}")
    return answer


def _by_systemd(place: Place, op: str, services: Any) -> dict[str, Any] | None:
    """One after the other, each waited for; None where systemd keeps none of them."""
    if systemd.status(place, "") is None:
        return None
    if op == "reload" and (faults := systemd.faults(place, services)):
        raise StackError("\n".join(faults))
    for name in services:
        Systemd().replace(name)
    return {"reloaded": list(services)}
