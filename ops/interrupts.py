"""Being told to stop, where work must be undone first."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

_TOLD = (signal.SIGTERM, signal.SIGHUP)


def interruptible() -> Any:
    """A service manager, or a terminal that is closed, ends us as Ctrl-C does: with KeyboardInterrupt."""
    return _handling(_TOLD, signal.default_int_handler)


def undisturbed() -> Any:
    """Cleaning up must not be cut short by a second Ctrl-C."""
    return _handling((signal.SIGINT, *_TOLD), signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """What may not be cut in two: a signal that arrives meanwhile takes effect at the end. In the main thread only.

    Blocking signals (pthread_sigmask) would not do: another thread, such as one that draws a progress bar, takes the
    signal then, and Python runs its handler in the main thread all the same.
    """
    arrived: list[int] = []
    with ExitStack() as before:
        for number in (signal.SIGINT, *_TOLD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                earlier = signal.signal(number, lambda number, _: arrived.append(number))
                before.callback(signal.signal, number, earlier)
        yield
    for first in arrived[:1]:
        signal.raise_signal(first)


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Callable[..., Any] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
