"""Cross-origin calls: listed origins are echoed, with credentials; others learn only that the answer varies."""

from collections.abc import Sequence

from edge.exchange import Exchange
from edge.identity.caller import Header

_EXPOSED = b"X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = b"600"
_VARY = (b"Vary", b"Origin")


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/") for origin in origins)
        self.is_configured = bool(self._allowed)

    def is_preflight(self, exchange: Exchange) -> bool:
        if exchange.method != "OPTIONS":
            return False
        headers = exchange.request.headers
        return "Origin" in headers and "Access-Control-Request-Method" in headers

    def preflight_headers(self, exchange: Exchange) -> list[Header]:
        """What a preflight's answer carries beside `headers`."""
        if exchange.origin not in self._allowed:
            return []
        wanted = exchange.request.headers.get("Access-Control-Request-Headers", "")
        return [
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", wanted.encode("ascii", "ignore")),
            (b"Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]

    def headers(self, exchange: Exchange) -> list[Header]:
        """What every answer to `exchange` carries."""
        if not self._allowed:
            return []
        if exchange.origin not in self._allowed:
            return [_VARY]  # a cache must not give this answer to a listed origin
        return [
            (b"Access-Control-Allow-Origin", exchange.origin.encode("latin-1")),
            (b"Access-Control-Allow-Credentials", b"true"),
            (b"Access-Control-Expose-Headers", _EXPOSED),
            _VARY,
        ]
