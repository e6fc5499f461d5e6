"""Rotation under `gatehouse up`: hourly, and soon after a log has grown to its size."""

import asyncio
import os
import time

from common.log_file import LogFile
from ops.logs import rotation
from ops.logs.rotation import Policy
from ops.stack.events import Story
from ops.stack.place import Place

LOOK_SECONDS = 10.0
_ROUND_SECONDS = 3600.0
# The controller's own end must not wait for somebody else's rotation.
_WAIT_SECONDS = 2.0


async def keep_logs(place: Place, policy: Policy, story: Story, *, look_seconds: float = LOOK_SECONDS) -> None:
    """Until cancelled. What goes wrong is said once, and tried again at the next look."""
    own = _own_log(place)
    complaint, due_at = "", 0.0
    while True:
        if time.monotonic() >= due_at or rotation.is_large(place.logs, policy):
            said = await asyncio.to_thread(_rotate, place, policy)
            if said and said != complaint:
                story.say(said)
            complaint = said
            due_at = time.monotonic() + (look_seconds if said else _ROUND_SECONDS)
        if own is not None:
            own.follow()  # somebody else may have rotated too
        await asyncio.sleep(look_seconds)


def _own_log(place: Place) -> LogFile | None:
    """The controller's log where that is its standard error (`up --detach`)."""
    path = place.log("gatehouse")
    try:
        if not os.path.samestat(path.stat(), os.fstat(2)):
            return None
        log = LogFile(str(path))
        log.take()
    except OSError:
        return None
    return log


def _rotate(place: Place, policy: Policy) -> str:
    """What went wrong; empty when nothing did."""
    try:
        rotation.rotate(place.logs, policy, wait_seconds=_WAIT_SECONDS)
    except OSError as error:
        return f"the logs could not be rotated: {error.strerror}: {error.filename or place.logs}"
    return ""
