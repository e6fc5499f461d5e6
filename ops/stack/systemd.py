"""The services as systemd keeps them on a host, by the units in `ops/systemd/`."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

from common.supervisor.release import interpreter
from ops.stack.errors import StackError
from ops.stack.place import MODULES, SERVICES, Place

UNITS = {name: f"gatehouse-{name}.service" for name in SERVICES}
STOP, START = "sudo systemctl stop gatehouse.target", "sudo systemctl start gatehouse.target"
_STATES = {"active": "running", "reloading": "running", "activating": "starting", "inactive": "stopped"}
_PROPERTIES = "Id,LoadState,ActiveState,Environment,MainPID,NRestarts"
_SECONDS_MAX = 10


def status(place: Place, url: str) -> dict[str, Any] | None:
    """In the shape of the controller's; None unless at least one of the units over this state directory runs.

    `url` is where the edge is reached on this machine.
    """
    services = [_service(name, unit) for name, unit in units(place).items()]
    started = [entry["started_at"] for entry in services if entry["started_at"]]
    if not any(entry["state"] in {"running", "starting"} for entry in services):
        return None
    return {
        "state": "running" if all(entry["state"] == "running" for entry in services) else "starting",
        "manager": "systemd",
        "pid": None,
        "var": str(place.var),
        "url": url,
        "started_at": min(started, default=None),
        "services": services,
        "servers": [],
    }


def units(place: Place) -> dict[str, Mapping[str, str]]:
    """Service → what systemd says of its unit, of those that are installed over this state directory."""
    try:
        words = ["systemctl", "show", *UNITS.values(), f"--property={_PROPERTIES}"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS_MAX, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}  # no systemd here
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n")]
    by_id = {block.get("Id"): block for block in blocks}
    return {name: by_id[unit] for name, unit in UNITS.items() if unit in by_id and _is_over(place, by_id[unit])}


def refuse(place: Place, doing: str, instead: str) -> None:
    """Raises StackError where systemd keeps this stack: `instead` is the command to give."""
    if status(place, "") is not None:
        raise StackError(f"systemd keeps the stack over {place.var}: to {doing} it, {instead}")


def faults(place: Place, services: Iterable[str]) -> list[str]:
    """Every reason why one of `services` would refuse its settings now, told what its unit is told."""
    known = units(place)
    return [line for name in services for line in _check(MODULES[name], known.get(name, {}))]


def _check(module: str, unit: Mapping[str, str]) -> list[str]:
    told = dict(word.split("=", 1) for word in unit.get("Environment", "").split() if "=" in word)
    words = [*interpreter(), "-m", module, "check"]
    done = subprocess.run(words, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    return (done.stderr.splitlines() or [f"{module}: its check failed"]) if done.returncode else []


def _is_over(place: Place, unit: Mapping[str, str]) -> bool:
    return unit.get("LoadState") == "loaded" and f"GATEHOUSE_VAR={place.var}" in unit.get("Environment", "").split()


def _service(name: str, unit: Mapping[str, str]) -> dict[str, Any]:
    pid = int(unit.get("MainPID") or 0) or None
    state = unit.get("ActiveState", "")
    return {
        "name": name,
        "state": _STATES.get(state, state),
        "pid": pid,
        "started_at": _started_at(pid),
        "restarts": int(unit.get("NRestarts") or 0),
        "listening": [],
    }


def _started_at(pid: int | None) -> float | None:
    try:
        return psutil.Process(pid).create_time() if pid else None
    except psutil.NoSuchProcess:
        return None
