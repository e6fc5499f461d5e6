"""Progress of long work: a bar a step on a terminal, nothing anywhere else; and an end that cleans up after itself."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ops.stack.errors import StackError

Report = Callable[[str, int, int | None], None]


@contextmanager
def bars() -> Iterator[Report]:
    """What takes (title, done, in all): on standard error, so that the output stays the command's own."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        tasks: dict[str, TaskID] = {}

        def report(title: str, done: int, total: int | None) -> None:
            if title not in tasks:
                tasks[title] = shown.add_task(title, total=total)
            shown.update(tasks[title], completed=done, total=total)

        yield report


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, a closed terminal and SIGTERM unwind what is under way and end in one sentence."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise StackError("interrupted: nothing was changed") from None
