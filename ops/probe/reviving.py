"""Starts again what is down, through whatever keeps this stack running."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from ops.probe.target import PATH, edge_url
from ops.stack.control import ask
from ops.stack.errors import StackError
from ops.stack.place import Place
from ops.stack.systemd import UNITS
from ops.visit import Visit, visit

_RESTART_SECONDS = 90
_SERVICES = ("auth", "core")


def edge_itself(environ: Mapping[str, str] | None, timeout: float) -> Visit:
    """Its own readiness, past any proxy in front."""
    return visit(edge_url(environ) + PATH, timeout=timeout)


def down(edge: Visit) -> list[str]:
    """The services that do not answer: a database that is away is no reason to restart what waits for it."""
    if edge.status == 0:
        return ["edge"]
    return [name for name in _SERVICES if edge.fields.get("checks", {}).get(name, "healthy") != "healthy"]


def revive(place: Place, names: list[str], *, systemd: Path = Path("/run/systemd/system")) -> str:
    """What was done, in words; `systemd` is a directory where it runs. Raises StackError with what could not be."""
    if not names:
        raise StackError("no service of ours is down, so none is restarted")
    if ask(place, "status") is not None:
        for name in names:
            ask(place, "restart", service=name, timeout=_RESTART_SECONDS)
    elif systemd.is_dir():
        _systemctl("restart", *(UNITS[name] for name in names))
    else:
        raise StackError("nothing keeps this stack running: start it with `gatehouse up`")
    return f"restarted {', '.join(names)}"


def _systemctl(*words: str) -> None:
    try:
        done = subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, timeout=_RESTART_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"systemctl {words[0]} failed: {error}") from None
    if done.returncode:
        raise StackError(f"systemctl {words[0]} failed: {done.stderr.strip() or done.returncode}")
