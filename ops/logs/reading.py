"""Logs of all parts, merged by time: the last lines, what follows, and everything that is still there."""

import heapq
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ops.logs import files
from ops.logs.lines import Line, own_time, parse

_BLOCK_BYTES = 1 << 16
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Wanted:
    """Which lines: all of what is given must hold. `since` is a time as in `Line`."""

    since: str = ""
    request_id: str = ""
    pattern: re.Pattern[str] | None = None
    failed_sign_ins: bool = False

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def may_be(self, text: str) -> bool:
        """A look at the text alone, which spares most lines from being read further."""
        return self.request_id in text and (self.pattern is None or self.pattern.search(text) is not None)

    def holds(self, line: Line) -> bool:
        """For a line whose text `may_be`."""
        if line.time < self.since:
            return False
        if self.request_id and not (line.fields and line.fields.get("request_id") == self.request_id):
            return False
        return line.is_failed_sign_in if self.failed_sign_ins else True


EVERYTHING = Wanted()


class Log:
    """One log. Remembers how far it was read, and follows its file when that is renamed. To be closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._time = ""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def last(self, count: int) -> list[Line]:
        """The last `count` lines, older files included; what `new` tells begins after them."""
        if (current := self._open()) is not None:
            _seek_tail(current, count)
        lines = deque(_rest(current), count)
        for path in reversed(self._older()):
            if len(lines) >= count:
                break
            lines.extendleft(reversed(deque(files.lines(path), count - len(lines))))
        return _placed(self._parsed(lines))

    def all(self, wanted: Wanted = EVERYTHING) -> Iterator[Line]:
        """Every wanted line that is still there, oldest first; what `new` tells begins after them."""
        now = ""
        for text in self._texts(wanted.since):
            now = own_time(text) or now
            if now >= wanted.since and wanted.may_be(text):
                line = parse(text, self.path.stem)
                line = line if line.time else line._replace(time=now)
                if wanted.holds(line):
                    yield line

    def new(self) -> list[Line]:
        """What was written since the last call: also to a file that was renamed or emptied meanwhile."""
        lines: list[str] = []
        if self._file is not None:
            if os.fstat(self._file.fileno()).st_size < self._file.tell():
                self._file.seek(0)
            lines += _rest(self._file)
        if self._has_moved():
            lines += _rest(self._open())
        return _placed(self._parsed(lines))

    def _open(self) -> IO[bytes] | None:
        """The current file, at its beginning."""
        self.close()
        with suppress(FileNotFoundError):
            self._file = self.path.open("rb")
        return self._file

    def _has_moved(self) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(found, os.fstat(self._file.fileno()))

    def _texts(self, since: str) -> Iterator[str]:
        """All lines, older files first; files whose last line was written before `since` are not even opened."""
        current = self._open()
        for path in self._older():
            if _last_written(path) >= since:
                yield from files.lines(path)
        if current is not None:
            yield from files.lines_of(current)

    def _older(self) -> list[Path]:
        """The older files, except the one that was opened as the current one and renamed since."""
        found = files.older(self.path)
        if self._file is None:
            return found
        identity = os.fstat(self._file.fileno())
        return [path for path in found if not (path.exists() and os.path.samestat(path.stat(), identity))]

    def _parsed(self, texts: Iterable[str]) -> Iterator[Line]:
        for text in texts:
            line = parse(text, self.path.stem)
            self._time = line.time or self._time
            yield line if line.time else line._replace(time=self._time)


def last(logs: Sequence[Log], count: int) -> list[Line]:
    """The last `count` lines of all logs together, oldest first."""
    merged = list(heapq.merge(*(log.last(count) for log in logs), key=_time))
    return merged[len(merged) - min(count, len(merged)) :]


def everything(logs: Sequence[Log], wanted: Wanted = EVERYTHING) -> Iterator[Line]:
    """Every wanted line of all logs, oldest first; no more than a line of each file is held."""
    return heapq.merge(*(log.all(wanted) for log in logs), key=_time)


def following(logs: Sequence[Log], wanted: Wanted = EVERYTHING) -> Iterator[Line]:
    """What is written from now on; never ends. From now: after `last`, or after the first call of `new`."""
    while True:
        fresh = [line for log in logs for line in log.new() if wanted.may_be(line.text) and wanted.holds(line)]
        yield from sorted(fresh, key=_time)
        if not fresh:
            time.sleep(_POLL_SECONDS)


def _time(line: Line) -> str:
    return line.time


def _last_written(path: Path) -> str:
    """As in `Line`, rounded up; now for one that is gone: it is being compressed."""
    try:
        modified = path.stat().st_mtime
    except FileNotFoundError:
        modified = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(modified + 1))


def _placed(lines: Iterable[Line]) -> list[Line]:
    """What comes before the first line that says its time is as old as that, for all we know."""
    read = list(lines)
    first = next((line.time for line in read if line.time), "")
    return [line if line.time else line._replace(time=first) for line in read]


def _rest(file: IO[bytes] | None) -> list[str]:
    """The whole lines from here on; its writer may be in the middle of one."""
    if file is None:
        return []
    whole, newline, rest = file.read().rpartition(b"\n")
    file.seek(-len(rest), os.SEEK_CUR)
    return [text for text in whole.decode(errors="replace").split("\n") if text] if newline else []


def _seek_tail(file: IO[bytes], count: int) -> None:
    """To the beginning of at least the last `count` whole lines."""
    position = end = file.seek(0, os.SEEK_END)
    data = b""
    while position and data.count(b"\n") <= count:
        position = max(0, position - _BLOCK_BYTES)
        file.seek(position)
        data = file.read(end - position)
    file.seek(position + (data.index(b"\n") + 1 if position else 0))
