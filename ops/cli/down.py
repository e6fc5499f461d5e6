"""`gatehouse down`: stops the stack."""

import os
import time

import click

_POLL_SECONDS = 0.05
_SECONDS_MAX = 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(as_json: bool) -> None:
    """Stop everything that `up` started over this GATEHOUSE_VAR, and wait until nothing of it is left."""
    from ops.cli.output import say  # noqa: PLC0415
    from ops.stack import systemd  # noqa: PLC0415
    from ops.stack.control import ask  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.place import Place  # noqa: PLC0415

    place = Place.find()
    started, pid = time.monotonic(), place.holder()
    if pid is None:
        systemd.refuse(place, "stop", systemd.STOP)
        say(as_json, f"nothing is running over {place.var}", stopped=False)
        return
    if ask(place, "stop") is None and place.holder() is not None:
        _interrupt(pid)  # it has the lock but no socket yet
    # The lock goes a moment before the process that held it.
    while place.holder() is not None or _lives(pid):
        if time.monotonic() - started > _SECONDS_MAX:
            raise StackError(
                f"the stack (pid {pid}) has not ended after {_SECONDS_MAX} s; see {place.log('gatehouse')}"
            )
        time.sleep(_POLL_SECONDS)
    seconds = round(time.monotonic() - started, 1)
    say(as_json, f"stopped in {seconds:.1f} s; nothing of it is running", stopped=True, pid=pid, seconds=seconds)


def _interrupt(pid: int) -> None:
    import signal  # noqa: PLC0415
    from contextlib import suppress  # noqa: PLC0415

    import psutil  # noqa: PLC0415

    # 0 is nobody we know, and a number that an earlier controller left behind may be anybody's by now.
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if pid > 0 and any("gatehouse" in word or "ops.cli" in word for word in psutil.Process(pid).cmdline()):
            os.kill(pid, signal.SIGINT)


def _lives(pid: int) -> bool:
    import psutil  # noqa: PLC0415

    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
