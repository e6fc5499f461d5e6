"""Runs a service as one lean parent and N workers: validate, bind, spawn, reload, drain.

A service's whole `__main__.py`:

    sys.exit(supervisor.main("edge", check="edge.app:check", worker="edge.app:build"))

`check() -> dict` loads the settings and answers
`{"workers": 1, "listen": [{"name": "http", "host": "127.0.0.1", "port": 8080, "setting": "EDGE_PORT"},
{"name": "admin", "path": "…/edge-admin.sock", "mode": "0600"}], "lame_duck_seconds": 5, "shutdown_seconds": 30,
"log": "…/logs/edge.log"}` (without `log`, or with an empty one, everything goes to the standard streams),
or raises an error class of its own or of `common` whose text names every fault, one a line.
`build` is what `common.worker.run` takes. The parent imports neither: it stays below 15 MB,
and a reload runs the code that is on the disk then.

Signals: HUP reloads (new workers are ready before the old retire; a refused reload changes nothing),
TERM drains, INT stops within 10 s, and each further one hastens.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from common.supervisor.plan import CannotStart
from common.supervisor.release import SPOKEN, parents_protocol

__all__ = ["main", "run"]


def main(service: str, *, check: str, worker: str) -> int:
    """The process's exit status: 0 done, 1 failed with the reason on stderr, 2 wrong usage.

    `check` and `worker` are `module:function`, imported only in the processes that need them.
    """
    match sys.argv[1:]:
        case []:
            return run(service)
        case ["check"]:
            return _speaking(service, lambda: _check(check))
        case ["worker"] if "GATEHOUSE_CHANNEL_FD" in os.environ:
            return _speaking(service, lambda: _work(worker))
        case _:
            sys.stderr.write(f"usage: python -m {service} [check]\n")
            return 2


def run(service: str) -> int:
    """The parent of `service`, until it is stopped."""
    from common.supervisor.parent import Supervisor  # noqa: PLC0415 - its children need none of it

    return Supervisor(service).run()


def _check(target: str) -> int:
    _must_understand_the_parent()
    print(json.dumps(_imported(target)()))  # noqa: T201 - the answer the parent reads
    return 0


def _work(target: str) -> int:
    from common import worker  # noqa: PLC0415 - aiohttp stays out of the parent

    _must_understand_the_parent()
    return worker.run(_imported(target))


def _must_understand_the_parent() -> None:
    """A parent may be of an older release than its workers; see `release.py`."""
    if (spoken := parents_protocol()) not in SPOKEN:
        raise CannotStart(f"the running parent speaks protocol {spoken}, this release does not: restart the service")


def _imported(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _speaking(service: str, action: Callable[[], int]) -> int:
    """An error class of ours carries its sentence; any other error is unexpected and shows where it came from."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - the process ends here, with the reason on stderr
        if type(error).__module__.partition(".")[0] not in {"common", service}:
            traceback.print_exc()
        else:
            sys.stderr.write("".join(f"{service}: {line}\n" for line in str(error).splitlines()))
        return 1
