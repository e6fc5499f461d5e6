"""Reads `var/logs/*.log`: JSON lines of our processes, plain lines of theirs, merged by time."""

import heapq
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

_BLOCK_BYTES = 1 << 16
_POLL_SECONDS = 0.2
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3}) UTC ")
_VALKEY = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ")


class Line(NamedTuple):
    """`time` is ISO 8601 in UTC with milliseconds, and not the line's own unless `is_timed`: then it gives its place.

    `fields` is None for a line that is not JSON.
    """

    time: str
    is_timed: bool
    service: str
    text: str
    fields: dict[str, Any] | None


class Log:
    """One file; remembers how far it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._inode = 0
        self._time = ""

    def last(self, count: int | None) -> list[Line]:
        """The last `count` lines, None for all of them."""
        try:
            with self._path.open("rb") as file:
                self._inode = _inode(file.fileno())
                data = file.read() if count is None else _tail(file, count)
                self._position = file.tell()
        except FileNotFoundError:
            return []
        whole, _, rest = data.rpartition(b"\n")
        self._position -= len(rest)  # its writer is in the middle of a line
        lines = self._parsed(whole)
        return lines if count is None else lines[len(lines) - count if len(lines) > count else 0 :]

    def new(self) -> list[Line]:
        """What was written since the last call; from its beginning when the file was replaced or emptied."""
        try:
            with self._path.open("rb") as file:
                if _inode(file.fileno()) != self._inode or file.seek(0, 2) < self._position:
                    self._inode, self._position = _inode(file.fileno()), 0
                file.seek(self._position)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._position += len(whole) + len(newline)
        return self._parsed(whole) if newline else []

    def _parsed(self, data: bytes) -> list[Line]:
        lines = [self._line(text) for text in data.decode(errors="replace").split("\n") if text]
        # What comes before the first line that says its time is as old as that, for all we know.
        first = next((line.time for line in lines if line.time), "")
        return [line if line.time else line._replace(time=first) for line in lines]

    def _line(self, text: str) -> Line:
        fields = _json(text)
        own = str(fields["time"]) if fields and "time" in fields else _plain_time(text)
        self._time = own or self._time
        return Line(self._time, bool(own), str((fields or {}).get("service", self._path.stem)), text, fields)


def last(logs: Sequence[Log], count: int | None, request_id: str | None = None) -> list[Line]:
    """The last `count` lines of all logs together, oldest first; with `request_id`, of those that carry it."""
    read = [log.last(None if request_id else count) for log in logs]
    merged = list(heapq.merge(*(_of_request(lines, request_id) for lines in read), key=lambda line: line.time))
    return merged if count is None else merged[len(merged) - min(count, len(merged)) :]


def following(logs: Sequence[Log], request_id: str | None = None) -> Iterator[Line]:
    """What is written from now on; never ends."""
    while True:
        fresh = [line for log in logs for line in _of_request(log.new(), request_id)]
        yield from sorted(fresh, key=lambda line: line.time)
        if not fresh:
            time.sleep(_POLL_SECONDS)


def _of_request(lines: list[Line], request_id: str | None) -> list[Line]:
    if request_id is None:
        return lines
    return [line for line in lines if line.fields and line.fields.get("request_id") == request_id]


def _tail(file: Any, count: int) -> bytes:
    """At least the last `count` whole lines; leaves the file at its end."""
    position, data = file.seek(0, 2), b""
    end = position
    while position and data.count(b"\n") <= count:
        position = max(0, position - _BLOCK_BYTES)
        file.seek(position)
        data = file.read(end - position)
    file.seek(end)
    return data.partition(b"\n")[2] if position else data


def _inode(fd: int) -> int:

    return os.fstat(fd).st_ino


def _json(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def own_words(text: str) -> str:
    """A plain line without the time that PostgreSQL or Valkey put before it."""
    match = _POSTGRES.match(text) or _VALKEY.match(text)
    return text[match.end() :] if match else text


def _plain_time(text: str) -> str:
    """PostgreSQL and Valkey begin their lines with theirs; both run in UTC."""
    if match := _POSTGRES.match(text):
        return f"{match[1]}T{match[2]}Z"
    if match := _VALKEY.match(text):
        moment = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").replace(tzinfo=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""
