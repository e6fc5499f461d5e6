"""What the controller tells about itself: to a terminal, to a file, to the `up --detach` that waits for it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

from ops.stack.place import Place

# {"event": "begin" | "end", "title", "note", "seconds"} around a step, {"event": "say", "text"},
# {"event": "ready", "summary": {...}}, {"event": "failed", "message"}.
Event: TypeAlias = dict[str, Any]
Listener: TypeAlias = Callable[[Event], None]


class Step:
    """One step of the start; what is put in `note` appears beside it."""

    note = ""


class Story:
    """Tells every listener; one that has gone away is no reason to fail."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def tell(self, event: str, **fields: Any) -> None:
        for listener in self._listeners:
            try:
                listener({"event": event, **fields})
            except OSError:  # the terminal was closed, the other end of the pipe has gone
                continue

    def say(self, text: str) -> None:
        self.tell("say", text=text)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Begins and ends it. One that fails or is interrupted has no end: what follows says why."""
        step, started = Step(), time.monotonic()
        self.tell("begin", title=title)
        yield step
        self.tell("end", title=title, note=step.note, seconds=round(time.monotonic() - started, 3))


def to_log(place: Place) -> Listener:
    """JSON lines like those of the services, in `var/logs/gatehouse.log`; no credentials."""

    def write(event: Event) -> None:
        level = "error" if event["event"] == "failed" else "info"
        fields = {key: value for key, value in event.items() if key not in {"event", "summary"}}
        if event["event"] == "begin":
            return
        if "message" in fields:
            fields["message"] = "; ".join(fields["message"].splitlines())
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": now, "level": level, "service": "gatehouse", "event": _NAMES[event["event"]], **fields}
        append(place, "gatehouse", json.dumps(line) + "\n")

    return write


_NAMES = {"end": "step_done", "say": "notice", "ready": "stack_ready", "failed": "stack_failed"}


def to_pipe(fd: int) -> Listener:
    """JSON lines to whoever started us in the background, until that is done; credentials included, it is them."""
    is_open = True

    def write(event: Event) -> None:
        nonlocal is_open
        if not is_open:  # the number may be another file's by now
            return
        os.write(fd, json.dumps(event).encode() + b"\n")
        if event["event"] in {"ready", "failed"}:
            is_open = False
            os.close(fd)

    return write


def append(place: Place, name: str, text: str) -> None:
    with os.fdopen(open_log(place, name), "a") as log:
        log.write(text)


def open_log(place: Place, name: str) -> int:
    """A descriptor that appends to one of the stack's logs; only its owner may read them."""
    return os.open(place.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
