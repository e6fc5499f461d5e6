"""The certificates that a worker serves now, chosen by the name a client asks for in its handshake (SNI)."""

import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime

from edge.tls.store import Certificate, new_context


class Served:
    """`context` is what listens: it holds no certificate itself, each handshake is given one of its name.

    A handshake without a name gets the default: that of the first of `hosts` that has one, else any. One with a name
    that no certificate covers is refused, as no client could accept what it would get.
    """

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        self.context = new_context()
        self.context.sni_callback = self._choose
        self._hosts = tuple(hosts)
        self._by_name: dict[str, Certificate] = {}
        self._default: Certificate | None = None

    def use(self, certificates: Iterable[Certificate], authority: str) -> None:
        """From the next handshake on. Of two for one name yours wins, then the current authority's, then the longest.

        Connections that are open go on with what they have.
        """

        def weight(certificate: Certificate) -> tuple[bool, bool, datetime]:
            pair = certificate.pair
            return pair.source == "manual", pair.authority == authority, certificate.not_after

        by_name = {name: one for one in sorted(certificates, key=weight) for name in one.names}
        self._by_name = by_name
        wanted = (self.find(host.removeprefix("*.")) or by_name.get(host) for host in self._hosts)
        self._default = next(filter(None, wanted), None) or next(iter(by_name.values()), None)

    def certificates(self) -> list[Certificate]:
        """Each that some name is served with, once, by its first name."""
        return sorted(dict.fromkeys(self._by_name.values()), key=lambda certificate: certificate.names)

    def find(self, host: str) -> Certificate | None:
        """RFC 6125 section 6.4.3: a wildcard stands for one label."""
        return self._by_name.get(host) or self._by_name.get(f"*.{host.partition('.')[2]}")

    def covers(self, host: str) -> bool:
        return self.find(host) is not None

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        found = self.find(name.lower().rstrip(".")) if name else self._default
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found.context
        return None
