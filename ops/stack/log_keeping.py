"""Rotation under `gatehouse up`: hourly, and soon after a log has grown to its size."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from common.log_file import LogFile
from ops.logs import rotation
from ops.logs.rotation import Policy
from ops.stack.events import Story
from ops.stack.place import Place

LOOK_SECONDS = 10.0
_ROUND_SECONDS = 3600.0


async def keep_logs(place: Place, policy: Policy, story: Story) -> None:
    """Until cancelled. What goes wrong is said once, and tried again at the next look."""
    complaint, due_at = "", 0.0
    while True:
        if time.monotonic() >= due_at or rotation.is_large(place.logs, policy):
            said = await asyncio.to_thread(_rotate, place, policy)
            if said and said != complaint:
                story.say(said)
            complaint = said
            due_at = time.monotonic() + _ROUND_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


def _rotate(place: Place, policy: Policy) -> str:
    """What went wrong; empty when nothing did."""
    own = place.log("gatehouse")
    is_detached = _is_standard_error(own)
    try:
        rotation.rotate(place.logs, policy)
        if is_detached:
            LogFile(str(own)).take()
    except OSError as error:
        return f"the logs could not be rotated: {error.strerror}: {error.filename or place.logs}"
    return ""


def _is_standard_error(path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(2))
    return False
