"""Where a call comes from, for attempts, events and logs."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from aiohttp import web

_AGENT_LENGTH_MAX = 256


@dataclass(frozen=True, slots=True)
class Visitor:
    """`address` as the edge saw it, `agent` cut to 256 characters."""

    address: str
    agent: str

    @property
    def network(self) -> str:
        """What counts as one place: an IPv4 address, or an IPv6 /64, of which one subscriber holds them all."""
        try:
            address = ip_address(self.address)
        except ValueError:
            return self.address
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
        return str(address)


def visitor(request: web.Request) -> Visitor:
    """The edge sets X-Real-IP; only a direct call, with the service key, comes without."""
    address = request.headers.get("X-Real-IP") or request.remote or ""
    return Visitor(_storable(address), _storable(request.headers.get("User-Agent", ""))[:_AGENT_LENGTH_MAX])


def _storable(text: str) -> str:
    # aiohttp keeps bytes that are no UTF-8 as lone surrogates, which PostgreSQL would refuse.
    return text.encode("utf-8", "replace").decode()
