"""What goes on to the client of an upstream's headers, judged by name: the same names come again and again."""

import re
from collections.abc import Sequence

from edge.exchange import Exchange
from edge.identity.caller import Header
from edge.upstream.headers import named_by_connection, passes_down

_PASSES, _ENDS, _SPEAKS = range(3)  # what speaks tells the edge something
_SPEAKING = frozenset({b"connection", b"date", b"x-gatehouse-route"})
_LIMITS = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})
_COUNT = re.compile(rb"\d{1,18}")
_CORS_PREFIX = b"access-control-"
_KNOWN_MAX = 4096


class _Fates(dict[bytes, int]):
    """By name in its own case. What upstreams invent is not worth remembering for ever."""

    def __missing__(self, name: bytes) -> int:
        lowered = name.lower()
        if lowered in _SPEAKING or lowered in _LIMITS:
            fate = _SPEAKS
        else:
            fate = _PASSES if passes_down(name) and not lowered.startswith(_CORS_PREFIX) else _ENDS
        if len(self) < _KNOWN_MAX:
            self[name] = fate
        return fate


_fates = _Fates()


def passing_down(exchange: Exchange, received: Sequence[Header]) -> list[Header]:
    """The headers that go on, without what the edge sets itself; what speaks to the edge is noted in `exchange`.

    Of two whole sets of limits the one with fewer remaining is shown; of equal ones the upstream's, to whose 429 and
    Retry-After it belongs.
    """
    kept = [header for header in received if _fates[header[0]] == _PASSES]
    limits: dict[bytes, bytes] = {}
    hop: frozenset[bytes] = frozenset()
    for name, value in [header for header in received if _fates[header[0]] == _SPEAKS]:
        lowered = name.lower()
        if lowered == b"date":
            kept.append((b"Date", value))
        elif lowered == b"x-gatehouse-route":
            exchange.template = value.decode("latin-1")
        elif lowered == b"connection":
            hop = named_by_connection(received)
        else:
            limits[lowered] = value
    if limits and _are_shown(exchange, limits):
        exchange.decision = None
        kept += limits.items()
    return [header for header in kept if header[0].lower() not in hop] if hop else kept


def _are_shown(exchange: Exchange, limits: dict[bytes, bytes]) -> bool:
    if exchange.decision is None:
        return True
    is_whole = len(limits) == len(_LIMITS) and all(map(_COUNT.fullmatch, limits.values()))
    return is_whole and int(limits[b"x-ratelimit-remaining"]) <= exchange.decision.remaining
