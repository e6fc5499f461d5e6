"""How the https servers of an upstream are verified; that they are is nobody's choice."""

import ssl
from collections.abc import Iterable

from edge.entries import TlsEntry


def client_context(servers: Iterable[str], entry: TlsEntry | None) -> ssl.SSLContext | None:
    """One for all servers of an upstream, as each holds every authority; None where none of them is https.

    `ca` stands in the place of the system's authorities, it is not added to them.
    """
    if not any(server.startswith("https://") for server in servers):
        return None
    return ssl.create_default_context(cafile=entry.ca if entry else None)
