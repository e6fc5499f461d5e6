"""The parent's event loop: sockets, signals, timers. asyncio would double the parent's memory."""

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import IO, TypeAlias

Source: TypeAlias = socket.socket | IO[bytes]
_SIGNAL_BYTES = 4096


class Loop:
    """Single-threaded. Callbacks run one at a time, so none needs a lock."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[Source, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()  # two timers of one instant must not compare their callbacks
        self._wakeup = socket.socketpair()
        self._running = True

    def watch(self, source: Source, events: int, callback: Callable[[int], None]) -> None:
        """Calls back with the ready events; a second call for the same source replaces the first."""
        if source in self._callbacks:
            self._selector.modify(source, events)
        else:
            self._selector.register(source, events)
        self._callbacks[source] = callback

    def unwatch(self, source: Source) -> None:
        """Before closing it."""
        self._selector.unregister(source)
        del self._callbacks[source]

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def on_signals(self, signals: Iterable[signal.Signals], callback: Callable[[signal.Signals], None]) -> None:
        """Runs `callback` in the loop, never in the middle of something."""
        arriving, wakeup = self._wakeup
        for end in self._wakeup:
            end.setblocking(False)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, _wake)

        def arrived(_events: int) -> None:
            for number in arriving.recv(_SIGNAL_BYTES):
                callback(signal.Signals(number))

        self.watch(arriving, selectors.EVENT_READ, arrived)

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            for key, events in self._selector.select(self._patience()):
                # A callback before this one may have closed it.
                if callback := self._callbacks.get(key.fileobj):  # type: ignore[call-overload]
                    callback(events)
            self._run_due()

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in self._wakeup:
            end.close()

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()


def _wake(_number: int, _frame: object) -> None:
    """The wake-up socket carries the news; without a handler the signal would end the process."""
