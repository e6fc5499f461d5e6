"""Which headers cross the edge, in both directions. Stripped first, ours added after.

RFC 9110 section 7.6.1: hop-by-hop headers and everything that Connection names end here.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aiohttp import HttpVersion, HttpVersion11

from edge.identity.caller import Header

if TYPE_CHECKING:
    from edge.exchange import Exchange, Handshake
    from edge.router import Route

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Set by the edge itself; a client's own never passes.
_OURS_TO_UPSTREAM = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-server",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"content-length",
        b"expect",
        b"host",
    }
)
_OURS_TO_CLIENT = frozenset(
    {
        b"x-request-id",
        b"x-content-type-options",
        b"x-frame-options",
        b"x-xss-protection",
        b"strict-transport-security",
        b"referrer-policy",
        b"content-length",
        b"server",
    }
)
# Who the edge is in Via; edge/resolve.py finds loops by it.
_VIA = (b"Via", b"1.1 gatehouse")
_VIA_OLD = (b"Via", b"1.0 gatehouse")
_KNOWN_MAX = 4096
_KNOWN_NAME_BYTES_MAX = 64

_passes_up: dict[bytes, bool] = {}
_passes_down: dict[bytes, bool] = {}


def folded(name: bytes) -> bytes:
    """`_` and `-` are one to many servers (CGI, WSGI), so they are one here."""
    return name.lower().replace(b"_", b"-")


def _judge(name: bytes, ours: frozenset[bytes], known: dict[bytes, bool]) -> bool:
    key = folded(name)
    passes = key not in _HOP_BY_HOP and key not in ours and not key.startswith(b"x-gatehouse-")
    if (
        len(known) < _KNOWN_MAX and len(name) <= _KNOWN_NAME_BYTES_MAX
    ):  # clients invent names; what they invent is not worth remembering for ever
        known[name] = passes
    return passes


def passes_up(name: bytes) -> bool:
    known = _passes_up.get(name)
    return _judge(name, _OURS_TO_UPSTREAM, _passes_up) if known is None else known


def passes_down(name: bytes) -> bool:
    known = _passes_down.get(name)
    return _judge(name, _OURS_TO_CLIENT, _passes_down) if known is None else known


def named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """Lower-case names that the Connection headers declare hop-by-hop; almost always empty."""
    named = [value for name, value in headers if name.lower() == b"connection"]
    if not named or named in ([b"keep-alive"], [b"close"], [b"Keep-Alive"]):
        return frozenset()
    tokens = {token.strip().lower() for value in named for token in value.split(b",")}
    return frozenset(tokens - {b"close", b"keep-alive", b""})


def passing_up(raw: Iterable[Header], *, with_authorization: bool = False) -> list[Header]:
    """The client's own headers that go on to an upstream."""
    hop = named_by_connection(raw)
    return [
        (name, value)
        for name, value in raw
        if passes_up(name)
        and (with_authorization or name.lower() != b"authorization")
        and not (hop and name.lower() in hop)
    ]


def via(version: HttpVersion) -> Header:
    return _VIA if version >= HttpVersion11 else _VIA_OLD


def request_headers(
    exchange: "Exchange", service_key: bytes | None, withheld: frozenset[bytes] = frozenset()
) -> list[Header] | bytes:
    """The headers of the request as the upstream sees it, without framing; as encoded lines where no rule applies.

    The client's own in `withheld` (lower-case) do not go there.

    Raises InvalidRequest for what cannot be passed on.
    """
    route, caller = exchange.route, exchange.caller
    assert route is not None
    if route.request_rules is not None or route.pass_authorization or withheld:
        headers = _ruled_headers(exchange, route, service_key)
        kept = [header for header in headers if folded(header[0]) not in withheld]
        return kept if exchange.handshake is None else kept + _switching(exchange.handshake)
    lines = exchange.head.upstream_lines() + b"\r\nX-Request-ID: " + exchange.request_id.encode()
    if service_key is not None:
        lines += b"\r\nAuthorization: ApiKey " + service_key
    return lines if caller is None else lines + caller.lines


def _ruled_headers(exchange: "Exchange", route: "Route", service_key: bytes | None) -> list[Header]:
    head, keeps_authorization = exchange.head, route.pass_authorization
    headers = passing_up(head.raw, with_authorization=keeps_authorization)
    headers += [*head.forwarded(), (b"X-Request-ID", exchange.request_id.encode())]
    if service_key is not None and not keeps_authorization:
        headers.append((b"Authorization", b"ApiKey " + service_key))
    if exchange.caller is not None:
        headers += exchange.caller.headers()
    if route.request_rules is not None:
        headers = route.request_rules.apply(headers)
    return headers


def _switching(handshake: "Handshake") -> list[Header]:
    """Asks for WebSocket as the client did, but for its credential."""
    lines = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    if handshake.protocols:
        lines.append((b"Sec-WebSocket-Protocol", ", ".join(handshake.protocols).encode("latin-1")))
    return lines


def find(headers: Sequence[Header], wanted: bytes) -> bytes | None:
    """The first value of a header; `wanted` lower-case."""
    for name, value in headers:
        if name.lower() == wanted:
            return value
    return None


def joined(headers: Sequence[Header], wanted: bytes) -> bytes:
    """All values of a header that holds a list, as one (RFC 9110 section 5.3); `wanted` lower-case."""
    return b", ".join([value for name, value in headers if name.lower() == wanted])
