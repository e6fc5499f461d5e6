"""Which hosts are served here."""

import re
from collections.abc import Iterable, Sequence

from common.errors import BadRequest, MisdirectedRequest
from edge.router import host_matches

# RFC 3986 section 3.2.2, as far as names on the internet go; the port is no part of the name.
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


class Hosts:
    """With no `domains` configured every host is served (development); else those, and the hosts that routes name."""

    def __init__(self, domains: Sequence[str], of_routes: Iterable[str] = ()) -> None:
        names = {*domains, *of_routes} if domains else set()
        self._exact = frozenset(name for name in names if not name.startswith("*."))
        self._wildcards = tuple(name for name in names if name.startswith("*."))

    def require_served(self, host: str) -> None:
        """Raises MisdirectedRequest for a host that is not ours."""
        if not self._exact and not self._wildcards:
            return
        if host not in self._exact and not any(host_matches(pattern, host) for pattern in self._wildcards):
            raise MisdirectedRequest


def host_name(given: Sequence[str], *, is_http_11: bool) -> str:
    """The name in the Host header, lower-case, without port.

    Raises BadRequest where RFC 9112 section 3.2 does.
    """
    if len(given) > 1 or (is_http_11 and not given):
        raise BadRequest("Exactly one Host header is needed")
    host = given[0].lower() if given else ""
    match = _HOST.fullmatch(host)
    if match is None and host:
        raise BadRequest("The Host header is malformed")
    return match[1] if match else ""
