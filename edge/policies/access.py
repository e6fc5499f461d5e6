"""Allow and deny lists of a route: from which addresses it may be called."""

from collections.abc import Sequence
from functools import lru_cache

from common.errors import Forbidden
from edge.addresses import Network, parsed


class AccessList:
    """An address in `deny` is refused, and so is one outside of `allow` where that names any."""

    def __init__(self, allow: Sequence[Network], deny: Sequence[Network]) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)
        self._admits = lru_cache(maxsize=4096)(self._judge)

    def require(self, address: str) -> None:
        """Raises Forbidden."""
        if not self._admits(address):
            raise Forbidden("This is not served to your address", detail=f"address {address} is not let in")

    def _judge(self, text: str) -> bool:
        address = parsed(text)
        if address is None:  # a Unix-socket peer is in no list
            return not self._allow
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)


def access_list(allow: Sequence[Network], deny: Sequence[Network]) -> AccessList | None:
    """None where anybody may come, so that such a route pays nothing."""
    return AccessList(allow, deny) if allow or deny else None
