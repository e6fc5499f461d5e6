"""Being told to stop, where work must be undone first."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_TOLD = (signal.SIGTERM, signal.SIGHUP)


def interruptible() -> Any:
    """A service manager, or a terminal that is closed, ends us as Ctrl-C does: with KeyboardInterrupt."""
    return _handling(_TOLD, signal.default_int_handler)


def undisturbed() -> Any:
    """Cleaning up must not be cut short by a second Ctrl-C."""
    return _handling((signal.SIGINT, *_TOLD), signal.SIG_IGN)


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Callable[..., Any] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
