"""Who keeps the services running, and how it replaces their workers."""

import re
import subprocess
import time
from pathlib import Path
from typing import Protocol

from ops.release.home import Home, ReleaseError
from ops.stack.control import ask
from ops.stack.errors import StackError
from ops.stack.place import Place
from ops.stack.systemd import UNITS

SECONDS_MAX = 80.0
_POLL_SECONDS = 0.1
_SETTLED = re.compile(r"reload (\d+): (.*)", re.DOTALL)


class Services(Protocol):
    """The three services as they run on this machine."""

    title: str

    def check(self) -> None:
        """Raises ReleaseError when they cannot be upgraded as they are."""

    def replace(self, service: str) -> None:
        """New workers, of the release that is current, for old. Raises ReleaseError when the old ones stay."""


class Controller:
    """`gatehouse up`, asked over its control socket."""

    title = "gatehouse up"

    def __init__(self, place: Place, home: Home) -> None:
        self._place = place
        self._home = home

    def check(self) -> None:
        status = ask(self._place, "status") or {}
        if status.get("state") != "running":
            raise ReleaseError(
                f"the stack over {self._place.var} is {status.get('state', 'gone')}: wait, then try again"
            )
        if status.get("home") != str(self._home.path):
            raise ReleaseError(
                f"the stack over {self._place.var} does not run from {self._home.current}: stop it and start it with "
                f"{self._home.current}/.venv/bin/gatehouse up"
            )

    def replace(self, service: str) -> None:
        try:
            answer = ask(self._place, "restart", timeout=SECONDS_MAX, service=service)
        except StackError as error:
            raise ReleaseError("; ".join(str(error).splitlines())) from None
        if answer is None:
            raise ReleaseError(f"the stack over {self._place.var} has ended")


class Systemd:
    """The units of `ops/systemd/`. What a reload came to is in their status text, see `common/supervisor/parent.py`."""

    title = "systemd"

    def __init__(self, seconds: float = SECONDS_MAX) -> None:
        """`seconds` is how long a reload may take."""
        self._seconds = seconds

    def check(self) -> None:
        states = {unit: _systemctl("show", "--property=ActiveState", "--value", unit) for unit in UNITS.values()}
        if away := [f"{unit} is {state or 'unknown'}" for unit, state in states.items() if state != "active"]:
            raise ReleaseError(f"{', '.join(away)}: start it, or stop gatehouse.target to upgrade while nothing runs")

    def replace(self, service: str) -> None:
        unit = UNITS[service]
        before, _ = self._last_reload(unit)
        _systemctl("reload", unit)
        deadline = time.monotonic() + self._seconds
        while True:
            number, how = self._last_reload(unit)
            if number > before:
                break
            if time.monotonic() > deadline:
                raise ReleaseError(f"{unit} has not reloaded after {self._seconds:g} s; see journalctl -u {unit}")
            time.sleep(_POLL_SECONDS)
        if not how.startswith("ready"):
            raise ReleaseError(f"{service}: {how}; see journalctl -u {unit} and `gatehouse logs {service}`")

    def _last_reload(self, unit: str) -> tuple[int, str]:
        """The number of the last one that is over, and how it ended; -1 while one is under way."""
        settled = _SETTLED.match(_systemctl("show", "--property=StatusText", "--value", unit))
        return (int(settled[1]), settled[2]) if settled else (-1, "")


class Stopped:
    """Nothing runs: there is nothing to replace, and nothing to ask."""

    title = "nothing"

    def check(self) -> None:
        return None

    def replace(self, service: str) -> None:
        del service  # the protocol's signature


def find(place: Place, home: Home, *, systemd: Path = Path("/run/systemd/system")) -> Services:
    """Whatever runs the services over this state directory."""
    if place.holder() is not None:
        return Controller(place, home)
    if systemd.is_dir() and any(_is_loaded_and_up(unit) for unit in UNITS.values()):
        return Systemd()
    return Stopped()


def _is_loaded_and_up(unit: str) -> bool:
    return _systemctl("show", "--property=ActiveState", "--value", unit) in {"active", "activating", "reloading"}


def _systemctl(*words: str) -> str:
    """Its output. Raises ReleaseError with what it said."""
    try:
        done = subprocess.run(["systemctl", "--no-ask-password", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ReleaseError(f"systemctl cannot be run: {error.strerror}") from None
    if done.returncode:
        said = next(iter(done.stderr.strip().splitlines()), f"status {done.returncode}")
        raise ReleaseError(f"systemctl {' '.join(words)}: {said}")
    return done.stdout.strip()
