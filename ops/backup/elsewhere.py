"""Services that no controller of ours keeps: systemd or containers do, and whoever runs those stops and starts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import settings
from ops.stack import probe, systemd
from ops.stack.configuration import Configuration
from ops.stack.place import SERVICES

_IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))
_PORTS = {"EDGE_PORT": "8080", "AUTH_PORT": "8081", "CORE_PORT": "8082"}
_RUNNING = {"active", "activating", "reloading", "deactivating"}


@dataclass(frozen=True)
class Manager:
    """Who keeps the services, and the commands to give it."""

    name: str
    stop: str
    start: str


SYSTEMD = Manager("systemd", systemd.STOP, systemd.START)
COMPOSE = Manager("compose", "docker compose stop edge core auth", "docker compose up --detach")
BY_HAND = Manager("", "stop edge, core and auth", "gatehouse up --detach")


def manager(read: Configuration) -> Manager | None:
    """None where `gatehouse up` is what keeps a stack."""
    if systemd.units(read.place):
        return SYSTEMD
    if not read.uses_embedded_postgres and any(path.exists() for path in _IN_CONTAINER):
        return COMPOSE
    return None


def services_running(read: Configuration) -> list[str]:
    """Those that run without a controller: by systemd's word, or because they answer.

    Over an embedded database nothing does: it is not running either.
    """
    if read.uses_embedded_postgres:
        return []
    units = systemd.units(read.place)
    by_systemd = {name for name, unit in units.items() if unit.get("ActiveState") in _RUNNING}
    return [name for name in SERVICES if name in by_systemd or _answers(name, read.environ)]


def _answers(name: str, environ: Mapping[str, str]) -> bool:
    variable = f"{name.upper()}_PORT"
    port = settings.variable(variable, environ) or (settings.variable("PORT", environ) if name == "edge" else None)
    default = f"http://127.0.0.1:{port or _PORTS[variable]}"
    url = (settings.variable(f"{name.upper()}_URL", environ) if name != "edge" else None) or default
    return url.startswith("http://") and probe.fetch(f"{url}/health")[1].get("service") == name
