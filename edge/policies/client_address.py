"""Who is at the other end: the right-most hop that no trusted proxy vouches for."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from aiohttp import web

from edge.addresses import Network, parsed
from edge.head import Client


class ClientAddresses:
    """Believes X-Forwarded-* from `proxies` only. With none configured the peer is the client."""

    def __init__(self, proxies: Sequence[Network]) -> None:
        self._proxies = tuple(proxies)
        self._is_trusted = lru_cache(maxsize=4096)(self._matches)

    def is_trusted(self, address: str) -> bool:
        """Whether this is a proxy of ours, whose word is taken for where a request comes from."""
        return bool(self._proxies) and self._is_trusted(address)

    def of(self, request: web.BaseRequest) -> Client:
        peer = request.remote or "unix"
        scheme = request.scheme  # of the connection itself
        if not self._proxies or not self._is_trusted(peer):
            return Client(peer, scheme, peer)
        # What could not be parsed has a plain dict for headers, and nothing in it.
        lines = request.headers.getall("X-Forwarded-For", ()) if request.headers else ()
        hops = [hop.strip() for line in lines for hop in line.split(",")]
        chain = [*hops, peer]
        # From the right: every trusted hop vouches for the one before it.
        position = len(chain) - 1
        while position > 0 and self._is_trusted(chain[position]) and _is_address(chain[position - 1]):
            position -= 1
        told = request.headers.get("X-Forwarded-Proto", scheme).lower()
        return Client(chain[position], told if told in ("http", "https") else scheme, ", ".join(chain[position:]))

    def _matches(self, text: str) -> bool:
        address = parsed(text)
        if address is None:
            return text == "unix"  # a Unix-socket peer is on this machine and was let in by file mode
        return any(address in network for network in self._proxies)


@lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone may hold anything, and means nothing to us
