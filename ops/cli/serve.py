"""`gatehouse serve`: one service in the foreground, for containers and for looking at one alone."""

import os
import signal
import subprocess
import sys

import click


@click.command()
@click.argument("service")
@click.option("--reload", "reloads", is_flag=True, help="Replace its workers when its source changes.")
def command(service: str, reloads: bool) -> None:
    """Run SERVICE (edge, auth, core) with the settings it finds; its log goes to standard output."""
    from ops.stack.place import MODULES, SERVICES  # noqa: PLC0415

    module = MODULES.get(service, service)
    if module not in MODULES.values():
        raise click.BadParameter(f"{service} is none of {', '.join(SERVICES)}", param_hint="SERVICE")
    words = [sys.executable, "-m", module]
    if not reloads:
        os.execv(words[0], words)  # noqa: S606 - our own interpreter and module
    sys.exit(_reloading(words, module))


def _reloading(words: list[str], module: str) -> int:
    """Passes signals on to the supervisor and turns changes into SIGHUP; ends with it."""
    import threading  # noqa: PLC0415

    from watchfiles import watch  # noqa: PLC0415

    from ops.stack.place import MODULES  # noqa: PLC0415
    from ops.stack.process import dying_with_us  # noqa: PLC0415
    from ops.stack.watch import SourceFilter, concerned, source_folders  # noqa: PLC0415

    # In a group of its own, so that a Ctrl-C reaches it once, through us; and it ends when we are killed.
    # Without a lame duck, so that the first request after a change meets the new code.
    environ = {"LAME_DUCK_SECONDS": "0", **os.environ}
    process = subprocess.Popen(dying_with_us(words, signal.SIGINT), process_group=0, env=environ)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    ended = threading.Event()

    def follow() -> None:
        for changes in watch(*source_folders(), watch_filter=SourceFilter(), stop_event=ended, raise_interrupt=False):
            if any(MODULES[name] == module for name in concerned(path for _, path in changes)):
                process.send_signal(signal.SIGHUP)

    threading.Thread(target=follow, daemon=True).start()
    status = process.wait()
    ended.set()
    return status if status >= 0 else 1
