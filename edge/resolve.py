"""Reads what a request is: its id, where it comes from, what it asks for."""

import time
from urllib.parse import urlsplit

from aiohttp import web

from common.errors import BadRequest
from common.ids import RequestIds
from edge.exchange import Exchange
from edge.policies.client_address import ClientAddresses
from edge.policies.hosts import host_name


class Resolver:
    def __init__(self, addresses: ClientAddresses) -> None:
        self._addresses = addresses
        self._ids = RequestIds()

    def exchange(self, request: web.BaseRequest) -> Exchange:
        """Never fails: whatever was sent, there must be something to answer and to log."""
        path, _, query = request.raw_path.partition("?")
        return Exchange(
            request=request,
            request_id=self._ids.keep_or_make(request.headers.get("X-Request-ID")),
            client=self._addresses.of(request),
            host="",
            path=path,
            query=query,
            started=time.perf_counter(),
        )

    def require_well_formed(self, exchange: Exchange) -> None:
        """Fills in the host. Raises BadRequest for a target or Host that could be read in two ways."""
        request = exchange.request
        is_http_11 = request.version >= (1, 1)
        exchange.host = host_name(request.headers.getall("Host", []), is_http_11=is_http_11)
        if exchange.path.startswith("/"):
            return
        if not exchange.path.lower().startswith(("http://", "https://")):
            raise BadRequest("The request target must be a path")
        # RFC 9112 section 3.2.2: a server must accept the absolute form. What it names and Host must agree, or the
        # upstream would be told another host than the one that was checked.
        absolute = urlsplit(exchange.path)
        if absolute.netloc.lower() != request.headers.get("Host", "").lower():
            raise BadRequest("The request target and the Host header disagree")
        exchange.path = absolute.path or "/"
