"""Runs a controller: here, or in a process of its own that reports until it is ready."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from common.supervisor.release import interpreter
from ops.cli.telling import teller
from ops.stack import configuration, systemd
from ops.stack.controller import Controller
from ops.stack.errors import StackError
from ops.stack.events import Event, Story, open_log, to_log, to_pipe
from ops.stack.place import Place


def here(*, watches: bool = False, report_to: int | None = None) -> None:
    """Until it is stopped. Raises StackError when it cannot start."""
    read = configuration.read()
    systemd.refuse(read.place, "start", systemd.START)
    read.place.prepare()
    story = Story(to_pipe(report_to) if report_to is not None else teller(), to_log(read.place))
    try:
        asyncio.run(Controller(read, story, watches=watches).run())
    except StackError as error:
        story.tell("failed", message=str(error))
        if report_to is not None:
            sys.exit(1)  # who started us says it
        raise


def in_background() -> None:
    """Returns when it is ready. Raises StackError with its reason when it is not going to be."""
    place = Place.find()
    systemd.refuse(place, "start", systemd.START)
    place.prepare()
    reading, writing = os.pipe()
    log = open_log(place, "gatehouse")
    words = [*interpreter(), "-m", "ops.cli", "up", "--report-to", str(writing)]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], start_new_session=True
    )
    os.close(writing)
    os.close(log)
    # Whoever gives up waiting for us gives up the start.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with os.fdopen(reading) as reports:
        try:
            _follow(reports, place)
        except StackError:
            process.wait()
            raise
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise StackError("stopped before it was ready") from None


def _follow(reports: IO[str], place: Place) -> None:
    tell = teller()
    for event in _events(reports):
        if event["event"] == "ready":
            event["summary"]["is_detached"] = True
        tell(event)
        if event["event"] == "failed":
            raise StackError(event["message"])
        if event["event"] == "ready":
            return
    raise StackError(f"the stack ended without a word; see {place.log('gatehouse')}")


def _events(reports: IO[str]) -> Iterator[Event]:
    with suppress(OSError):
        for line in reports:
            yield json.loads(line)
