"""Merged metrics: what the workers count now, and what those that left had counted."""

import itertools
import json
from collections.abc import Callable, Iterable

from common.supervisor.child import Child
from common.supervisor.loop import Loop
from common.supervisor.metrics import Families, cumulative, merge

_WAIT_SECONDS = 1.0


class Gathering:
    """One request for merged metrics, until everybody has answered or the wait is over."""

    def __init__(self, asker: Child, request_id: int, asked: Iterable[Child]) -> None:
        self.asker = asker
        self.request_id = request_id
        self.asked = list(asked)
        self.waiting = set(self.asked)


class Metrics:
    """Counters never go back: a worker that left is remembered, one that is silent keeps its last answer."""

    def __init__(self, loop: Loop, live: Callable[[], list[Child]]) -> None:
        self._loop = loop
        self._live = live
        self._ids = itertools.count(1)
        self._gatherings: dict[int, Gathering] = {}
        self._left = b"[]"  # families as JSON, for the same reason as Child.snapshot

    def ask(self, asker: Child, request_id: int) -> None:
        """The merged families go to `asker`, within a second."""
        number = next(self._ids)
        gathering = self._gatherings[number] = Gathering(asker, request_id, self._live())
        self._loop.later(_WAIT_SECONDS, lambda: self._finish(number))
        for child in gathering.asked:
            child.channel.send({"op": "snapshot", "id": number})
        self._finish_if_complete(number)

    def answered(self, child: Child, number: int, line: bytes) -> None:
        """A worker's snapshot for gathering `number`; its message came as `line`."""
        child.snapshot = line
        if gathering := self._gatherings.get(number):
            gathering.waiting.discard(child)
            self._finish_if_complete(number)

    def left(self, child: Child, final: Families | None = None) -> None:
        """Counts what `child` leaves behind, once: its last words, or its last answer if it was killed."""
        if child.has_left:
            return
        child.has_left = True
        families = _families(child) if final is None else final
        self._left = json.dumps(merge([json.loads(self._left), cumulative(families)])).encode()
        for number, gathering in list(self._gatherings.items()):
            if child in gathering.asked:
                gathering.asked.remove(child)
                gathering.waiting.discard(child)
                self._finish_if_complete(number)

    def _finish_if_complete(self, number: int) -> None:
        if not self._gatherings[number].waiting:
            self._finish(number)

    def _finish(self, number: int) -> None:
        gathering = self._gatherings.pop(number, None)
        if gathering is None:
            return
        # One worker at a time is unpacked.
        families = merge(itertools.chain([json.loads(self._left)], map(_families, gathering.asked)))
        gathering.asker.channel.send({"op": "merged", "id": gathering.request_id, "families": families})


def _families(child: Child) -> Families:
    """Of its last answer."""
    return json.loads(child.snapshot)["families"] if child.snapshot else []
