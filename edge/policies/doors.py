"""How many connections a worker holds at once, and how many of them for one client address."""

import resource
from collections.abc import Callable

from common.errors import ServiceUnavailable
from edge.addresses import limit_subject

# What a connection over a cap is given: time to say its first word, so that the answer to it can be read.
REFUSED_SECONDS = 1.0
_REFUSED_OPEN_MAX = 256  # more of those are closed without a word
_RETRY_SECONDS = 5


class Doors:
    """Counts connections in and out. `header_seconds` is what each may take for a request's head.

    Peers that `is_trusted` says are proxies of ours, and those on a Unix socket, count for the worker alone: many
    clients come through them.
    """

    def __init__(
        self,
        *,
        connections_max: int,
        per_address_max: int,
        header_seconds: float,
        is_trusted: Callable[[str], bool],
    ) -> None:
        self.header_seconds = header_seconds
        self.open = 0
        self.refused_open = 0
        self.refused = {"worker": 0, "address": 0}  # since the start, by the cap that was reached
        self._connections_max = min(connections_max, _files_max() * 3 // 4)  # the rest is for upstreams and logs
        self._per_address_max = per_address_max
        self._is_trusted = is_trusted
        self._by_subject: dict[str, int] = {}

    def enter(self, peername: object) -> str:
        """Whom the connection counts for, empty for nobody. Raises ServiceUnavailable when there is no room."""
        if self.open >= self._connections_max:
            self._refuse("worker")
        subject = self._subject(peername)
        if subject:
            held = self._by_subject.get(subject, 0)
            if held >= self._per_address_max:
                self._refuse("address")
            self._by_subject[subject] = held + 1
        self.open += 1
        return subject

    def leave(self, subject: str) -> None:
        self.open -= 1
        if subject:
            held = self._by_subject[subject] - 1
            if held:
                self._by_subject[subject] = held
            else:
                del self._by_subject[subject]

    def may_stay_refused(self) -> bool:
        """Whether one more refused connection may wait for its answer."""
        return self.refused_open < _REFUSED_OPEN_MAX

    def _refuse(self, cap: str) -> None:
        self.refused[cap] += 1
        raise ServiceUnavailable("Too many connections", detail=f"cap: {cap}", retry_after_seconds=_RETRY_SECONDS)

    def _subject(self, peername: object) -> str:
        if not isinstance(peername, tuple) or self._is_trusted(peername[0]):
            return ""
        return limit_subject(peername[0])


def _files_max() -> int:
    """How many files this process may open, after it has taken all that it is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard
