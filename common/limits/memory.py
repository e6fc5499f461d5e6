"""The script's rule in this process's memory: for when the store is away."""

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

# One list: key, limit, window in microseconds, cost. Several make one call, all or nothing.
Check = tuple[str, int, int, int]

KEYS_MAX = 20_000  # about 6 MB when every key holds a few calls


class MemoryLists:
    """Lists of admission times by key, bounded in number; the least recently admitted go first. Reads no clock.

    Times are integers of microseconds. The answers are those of script.lua, and one test holds both to one model.
    """

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._lists: OrderedDict[str, tuple[array[int], int]] = OrderedDict()  # times, the window they count in
        self._keys_max = keys_max

    def __len__(self) -> int:
        return len(self._lists)

    def clear(self) -> None:
        """Forget everything."""
        self._lists.clear()

    def forget(self, key: str) -> None:
        """Empty one list."""
        self._lists.pop(key, None)

    def check(self, checks: Sequence[Check], clock: int) -> list[int]:
        """Admit or refuse one call at `clock`: `[admitted, clock, used, leaves, wait, ...]` as in script.lua."""
        lists = [self._current(key, window, clock) for key, _, window, _ in checks]
        now = max([clock, *(times[-1] for times in lists if times)])
        reply = [1, clock]
        for times, (_, limit, window, cost) in zip(lists, checks, strict=True):
            del times[: bisect_right(times, now - window)]
            used, wait = len(times), 0
            if used + cost > limit:
                reply[0] = 0
                wait = times[used + cost - limit - 1] + window - clock
            reply += used, (times[0] if times else now) + window, wait
        if reply[0]:
            self._admit(lists, checks, now)
            for i, (_, _, _, cost) in enumerate(checks):
                reply[3 * i + 2] += cost
        return reply

    def _current(self, key: str, window: int, clock: int) -> "array[int]":
        kept = self._lists.get(key)
        if kept is None or (kept[0] and kept[0][-1] > clock + window):  # set back by a window: they say nothing now
            return array("q")
        return kept[0]

    def _admit(self, lists: "Sequence[array[int]]", checks: Sequence[Check], now: int) -> None:
        for times, (key, _, window, cost) in zip(lists, checks, strict=True):
            times.extend([now] * cost)
            self._lists[key] = times, window
            self._lists.move_to_end(key)
        self._shrink(now)

    def _shrink(self, now: int) -> None:
        """Drop what expired at the old end (no more than this call may have added), then what is too much."""
        for _ in range(4):
            times, window = next(iter(self._lists.values()))
            if times and times[-1] > now - window:
                break
            self._lists.popitem(last=False)
        while len(self._lists) > self._keys_max:
            self._lists.popitem(last=False)
