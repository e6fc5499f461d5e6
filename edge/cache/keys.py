"""What tells one kept answer from another."""

from collections.abc import Iterable
from typing import NamedTuple

from edge.cache.rules import CacheRules
from edge.exchange import Exchange
from edge.identity.caller import Header
from edge.upstream.headers import folded, named_by_connection

# Answers to these are for one request: a part, a condition for the upstream, another protocol.
_PERSONAL = ("Range", "If-Range", "If-Match", "If-Unmodified-Since", "Upgrade")


class Address(NamedTuple):
    """What is asked for; `host` with its port, as upstreams write it into links."""

    rules: CacheRules
    scheme: str
    host: str
    path: str
    query: str


class Key(NamedTuple):
    """And by whom: all that the upstream is told of the caller, None where everybody gets the same."""

    address: Address
    caller: bytes | None


Variant = tuple[bytes | None, ...]


def key_of(exchange: Exchange) -> Key:
    assert exchange.route is not None
    assert exchange.route.cache is not None
    rules, caller = exchange.route.cache, exchange.caller
    host = exchange.request.headers.get("Host", "").lower()
    address = Address(rules, exchange.client.scheme, host, exchange.path, exchange.query)
    return Key(address, None if rules.is_shared or caller is None else caller.lines)


def variant_of(raw_headers: Iterable[Header], varying: tuple[bytes, ...]) -> Variant:
    """The values that a request has for the headers in `varying`."""
    if not varying:
        return ()
    found: dict[bytes, bytes] = {}
    for name, value in raw_headers:
        key = folded(name)
        found[key] = found[key] + b", " + value if key in found else value
    return tuple(found.get(name) for name in varying)


def is_personal(exchange: Exchange) -> bool:
    """Whether the answer is for this request alone, whatever it says."""
    asked, route = exchange.request, exchange.route
    assert route is not None
    assert route.cache is not None
    if asked.body_exists or any(name in asked.headers for name in _PERSONAL):
        return True
    if "Cookie" in asked.headers and not route.cache.ignores_cookies:
        return True
    if named_by_connection(asked.raw_headers):  # then the upstream does not see all that a key is made of
        return True
    return route.pass_authorization and "Authorization" in asked.headers
