"""What `python -m <service> check` answers: how many workers, where to listen, how long to wait."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class CannotStart(Exception):
    """Why the service cannot start or reload, as one sentence for the person at the terminal."""


class Listener(NamedTuple):
    """One listening socket: `host` and `port`, or `path` of a Unix socket with its `mode`.

    `setting` names the variable that moves it, for the message when it is taken.
    """

    name: str
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = 0o600
    setting: str = ""

    @property
    def address(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Plan(NamedTuple):
    workers: int
    listen: tuple[Listener, ...]
    lame_duck_seconds: float
    shutdown_seconds: float
    log: str = ""  # the log file's path; empty for standard output

    def __str__(self) -> str:
        places = ", ".join(f"{listener.name} {listener.address}" for listener in self.listen)
        return f"{self.workers} worker{'s' * (self.workers != 1)}; {places}"


def parse(output: bytes) -> Plan:
    """The plan in a check's output, its last line: an import may have printed something before.

    Raises CannotStart when it holds no plan.
    """
    try:
        answer = json.loads(output.strip().rpartition(b"\n")[2])
        plan = Plan(
            workers=int(answer["workers"]),
            listen=tuple(_listener(entry) for entry in answer["listen"]),
            lame_duck_seconds=float(answer["lame_duck_seconds"]),
            shutdown_seconds=float(answer["shutdown_seconds"]),
            log=str(answer.get("log", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CannotStart(f"its check answered no plan ({type(error).__name__}: {error})") from None
    if plan.workers < 1 or not plan.listen or len({listener.name for listener in plan.listen}) < len(plan.listen):
        raise CannotStart("its check must name at least one worker and listeners with different names")
    return plan


def _listener(entry: Mapping[str, Any]) -> Listener:
    mode = entry.get("mode", 0o600)
    known = {key: entry[key] for key in ("name", "host", "path", "setting") if entry.get(key)}
    if not ("path" in known or "host" in known):
        raise KeyError("host or path")
    return Listener(**known, port=int(entry.get("port", 0)), mode=int(mode, 8) if isinstance(mode, str) else mode)
