"""Plain HTTP for a host that we hold a certificate of goes to https, for good."""

from edge.exchange import Exchange
from edge.tls.served import Served


class HttpsOnly:
    """A trusted proxy that says `https` has ended TLS itself. `port` is the one that clients know."""

    def __init__(self, served: Served, port: int) -> None:
        self._served = served
        self._port = b"" if port == 443 else b":%d" % port

    def location(self, exchange: Exchange) -> bytes | None:
        """Where to go instead, same host, path and query; None for a request that may stay."""
        if exchange.client.scheme == "https" or not self._served.covers(exchange.host):
            return None
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        return b"https://%b%b%b" % (exchange.host.encode(), self._port, target.encode("latin-1", "replace"))
