"""Weights that were changed at run time: one small file that every worker looks at.

`gatehouse weight` replaces `$GATEHOUSE_VAR/run/weights.json`; workers notice within LOOK_SECONDS, by a `stat` alone
while nothing changes. What it says goes before the table's `weight`, also after a restart.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from edge.entries import WEIGHT_MAX

log = structlog.get_logger()
LOOK_SECONDS = 0.25

# Weights by upstream, then by server's URL.
Weights = Mapping[str, Mapping[str, int]]


def weights_file(var: Path) -> Path:
    return var / "run" / "weights.json"


def read_weights(file: Path) -> dict[str, dict[str, int]]:
    """What the file says; nothing when there is none. Raises ValueError when it is no such file, OSError."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict) or not all(_are_weights(weights) for weights in content.values()):
        raise ValueError(f"{file} holds no weights")
    return content


def write_weights(file: Path, weights: Weights) -> None:
    """In one step: a worker that looks meanwhile sees the old or the new. Raises OSError."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(weights, indent=2) + "\n")
    new.replace(file)


def _are_weights(weights: object) -> bool:
    return isinstance(weights, dict) and all(
        type(weight) is int and 0 <= weight <= WEIGHT_MAX for weight in weights.values()
    )


class WeightsFile:
    """What the file says, as far as this worker has seen; `in_force` by upstream and URL."""

    def __init__(self, file: Path) -> None:
        self.in_force: Weights = {}
        self._file = file
        self._seen: tuple[int, ...] | None = None

    async def follow(self, *weigh: Callable[[], None]) -> None:
        """Calls all of `weigh` after each change, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.look():
                for changed in weigh:
                    changed()

    def look(self) -> bool:
        """Whether something changed. Never raises: what cannot be read changes nothing."""
        try:
            seen = _mark(self._file)
            if seen == self._seen:
                return False
            self._seen = seen
            self.in_force = read_weights(self._file)
        except (OSError, ValueError) as error:
            log.warning("weights_unreadable", file=str(self._file), error=str(error))
            return False
        return True


def _mark(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
