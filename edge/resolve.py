"""Reads what a request is: its id, where it comes from, what it asks for."""

from typing import TYPE_CHECKING, NoReturn, cast
from urllib.parse import urlsplit

from aiohttp import web

from common.errors import BadRequest, MethodNotAllowed
from common.ids import RequestIds
from edge.exchange import Exchange
from edge.head import Head
from edge.policies.client_address import ClientAddresses
from edge.policies.paths import normal_path

# TRACE would show a client what the edge adds to its request, an upstream's key included.
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

if TYPE_CHECKING:
    from edge.connection import ClientConnection


class Resolver:
    def __init__(self, addresses: ClientAddresses) -> None:
        self._addresses = addresses
        self._ids = RequestIds()

    def exchange(self, request: web.BaseRequest) -> Exchange:
        """Never fails: whatever was sent, there must be something to answer and to log."""
        head = self._head(request)
        return Exchange(request, head, head.request_id or self._ids.make())

    def _head(self, request: web.BaseRequest) -> Head:
        connection = cast("ClientConnection", request.protocol)
        head = connection.head
        if head is None or head.raw != request.raw_headers or head.version != request.version:
            head = connection.head = Head(request, self._addresses.of(request))
        return head

    def require_well_formed(self, exchange: Exchange) -> None:
        """Fills in host and normal path. Raises BadRequest for what could be read in two ways."""
        head = exchange.head
        exchange.host = head.check() if head.host_name is None else head.host_name
        if exchange.method in ("CONNECT", "TRACE"):
            _refuse_method(exchange.method)
        path = exchange.path
        if not path.startswith("/"):
            path = _path_of_absolute(path, head.host)
        if "#" in exchange.query:
            raise BadRequest("The request target has a fragment")
        exchange.path = normal_path(path)


def _refuse_method(method: str) -> NoReturn:
    if method == "CONNECT":
        raise BadRequest("There are no tunnels here")
    raise MethodNotAllowed(_METHODS)


def _path_of_absolute(target: str, host: str) -> str:
    """RFC 9112 section 3.2.2: a server must accept the absolute form.

    What it names and Host must agree, or the upstream would be told another host than the one that was checked.
    """
    if not target.lower().startswith(("http://", "https://")):
        raise BadRequest("The request target must be a path")
    try:
        absolute = urlsplit(target)
    except ValueError:
        raise BadRequest("The request target is malformed") from None
    if absolute.netloc.lower() != host.lower():
        raise BadRequest("The request target and the Host header disagree")
    return absolute.path or "/"
