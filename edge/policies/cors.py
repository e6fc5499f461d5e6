"""Cross-origin calls: listed origins are echoed, with credentials; others get no header at all."""

from collections.abc import Sequence

from edge.exchange import Exchange

Header = tuple[bytes, bytes]
_EXPOSED = b"X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = b"600"
_VARY = (b"Vary", b"Origin")


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/") for origin in origins)

    def is_preflight(self, exchange: Exchange) -> bool:
        headers = exchange.request.headers
        return exchange.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers

    def preflight_headers(self, exchange: Exchange) -> list[Header]:
        if exchange.origin not in self._allowed:
            return [_VARY]
        wanted = exchange.request.headers.get("Access-Control-Request-Headers", "")
        return [
            *self._common(exchange),
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", wanted.encode("latin-1", "ignore")),
            (b"Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]

    def headers(self, exchange: Exchange) -> list[Header]:
        """What an ordinary answer to `exchange` carries."""
        if not self._allowed:
            return []
        if exchange.origin not in self._allowed:
            return [_VARY]  # a cache must not give this answer to a listed origin
        return [*self._common(exchange), (b"Access-Control-Expose-Headers", _EXPOSED)]

    def _common(self, exchange: Exchange) -> list[Header]:
        return [
            (b"Access-Control-Allow-Origin", (exchange.origin or "").encode("latin-1")),
            (b"Access-Control-Allow-Credentials", b"true"),
            _VARY,
        ]
