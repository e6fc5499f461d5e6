"""Addresses as the edge compares and counts them."""

import ipaddress
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parsed(text: str) -> Address | None:
    """An IPv4 address that is written as IPv6 is the IPv4 address; None for what is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


@lru_cache(maxsize=4096)
def subscriber(text: str) -> str:
    """Whom a limit or a ban by address concerns: an IPv4 address, or the /64 that one IPv6 subscriber holds."""
    address = parsed(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address or text)


@lru_cache(maxsize=4096)
def limit_subject(text: str) -> str:
    """`subscriber` as the limiter knows it."""
    return f"address:{subscriber(text)}"
